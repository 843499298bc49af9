function selectTab(tabs, chosen) {
  for (const tab of tabs) {
    const selected = tab === chosen;
    tab.setAttribute("aria-selected", String(selected));
    tab.tabIndex = selected ? 0 : -1;
    document.getElementById(tab.getAttribute("aria-controls")).hidden = !selected;
  }
}

function makeTabs(list) {
  const run = list.parentElement;
  const tabs = [...run.querySelectorAll(":scope > [data-panel]")].map((panel) => {
    const tab = document.createElement("button");
    tab.type = "button";
    tab.id = panel.id + "-tab";
    tab.textContent = panel.dataset.panel;
    tab.setAttribute("role", "tab");
    tab.setAttribute("aria-controls", panel.id);
    panel.setAttribute("role", "tabpanel");
    panel.setAttribute("aria-labelledby", tab.id);
    panel.tabIndex = 0;
    list.append(tab);
    return tab;
  });
  const keys = { ArrowRight: (i) => i + 1, ArrowLeft: (i) => i - 1, Home: () => 0, End: () => tabs.length - 1 };
  list.addEventListener("click", (event) => {
    if (tabs.includes(event.target)) selectTab(tabs, event.target);
  });
  list.addEventListener("keydown", (event) => {
    const move = keys[event.key];
    if (!move || !tabs.includes(event.target)) return;
    event.preventDefault();
    const next = tabs[(move(tabs.indexOf(event.target)) + tabs.length) % tabs.length];
    selectTab(tabs, next);
    next.focus();
  });
  run.classList.add("tabbed");
  list.hidden = false;
  selectTab(tabs, tabs[0]);
}

function makeViewer(viewer) {
  const slider = viewer.querySelector("[data-slider]");
  const top = viewer.querySelector("[data-top]");
  const status = viewer.querySelector("[data-status]");
  const maps = [...viewer.querySelectorAll("[data-map]")];
  const buttons = [...viewer.querySelectorAll("[data-show]")];
  const names = { 0: viewer.dataset.second, 100: viewer.dataset.first };

  const draw = () => {
    const share = Number(slider.value);
    top.style.clipPath = `inset(0 ${100 - share}% 0 0)`;
    status.textContent = names[share] ? `Shown: ${names[share]}.` : `Shown: ${names[100]} left, ${names[0]} right.`;
  };
  const showMap = (chosen) => {
    maps.forEach((map, i) => map.classList.toggle("shown", i === chosen));
    buttons.forEach((button, i) => button.setAttribute("aria-pressed", String(i === chosen)));
    if (chosen === null) draw();
    else status.textContent = `Shown: ${buttons[chosen].title}.`;
  };
  const flip = () => {
    slider.value = Number(slider.value) === 100 ? 0 : 100;
    showMap(null);
  };
  slider.addEventListener("input", () => showMap(null));
  viewer.querySelector("[data-flip]").addEventListener("click", flip);
  const stage = viewer.querySelector("[data-stage]");
  stage.addEventListener("click", flip);
  stage.addEventListener("keydown", (event) => {
    if (event.key !== " " && event.key !== "Enter") return;
    event.preventDefault();
    flip();
  });
  buttons.forEach((button, i) =>
    button.addEventListener("click", () => showMap(button.getAttribute("aria-pressed") === "true" ? null : i))
  );
  viewer.classList.add("live");
  draw();
}

document.querySelectorAll("[data-tabs]").forEach(makeTabs);
document.querySelectorAll("[data-viewer]").forEach(makeViewer);
