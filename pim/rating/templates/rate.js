const RATER = "pim-rater";
const GAP = 12; // between panes, as in the style
const LEAST = 240; // CSS pixels of a pane that is smaller than its picture
const QUICK = 250; // milliseconds in which nobody judges: the second half of a double click or double press
const STILL = 200; // milliseconds without moving after which a press is a hold
const RETRY = [500, 1000, 2000, 4000]; // milliseconds
const PATIENCE = 15000; // of one call

const byId = (id) => document.getElementById(id);
const all = (selector) => [...document.querySelectorAll(selector)];
const stage = byId("stage");

let standing = null; // what the server said last
let trial = null; // { token, width, height, since, looks, seen, open } of what is shown
let mode = { panes: 3, whole: true };
let side = "left"; // what is shown where there is one pane
let visit = 0; // counts changes of the rater, so that a slow answer to an earlier one changes nothing
let showing = 0; // number of the trial shown last, so that a slow picture cannot appear in a later one

// --- talking to the server

async function once(name, body) {
  const stop = new AbortController();
  const timer = setTimeout(() => stop.abort(), PATIENCE);
  try {
    const options = { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body), signal: stop.signal };
    const answer = await fetch("/api/" + name, options);
    const text = await answer.text();
    const isJson = (answer.headers.get("Content-Type") || "").startsWith("application/json");
    return { status: answer.status, body: isJson ? JSON.parse(text) : { error: text } };
  } finally {
    clearTimeout(timer);
  }
}

// Sends again until there is an answer: whatever is sent counts once.
async function call(name, body) {
  for (let tries = 0; ; tries++) {
    let answer = null;
    try {
      answer = await once(name, body);
    } catch (error) {
      answer = { status: 0, body: { error: "The server cannot be reached." } };
    }
    if (answer.status !== 0 && answer.status !== 503) {
      trouble("");
      return answer;
    }
    trouble(answer.body.error + " Nothing is lost; trying again…");
    await new Promise((done) => setTimeout(done, RETRY[Math.min(tries, RETRY.length - 1)]));
  }
}

function newToken() {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

function trouble(text) {
  byId("trouble").textContent = text;
  byId("trouble").hidden = text === "";
}

function tell(text) {
  byId("told").textContent = text;
}

// --- what is on the page

function view(name) {
  for (const section of all("[data-view]")) section.hidden = section.dataset.view !== name;
  byId("title").textContent = name === "trial" || name === "enter" ? document.body.dataset.question : "Compare pictures";
  byId("progress").hidden = name === "enter";
  byId("leave").hidden = name === "enter";
  document.body.dataset.at = name;
}

function showStanding(next, told) {
  standing = next;
  sessionStorage.setItem(RATER, next.rater);
  byId("who").textContent = next.name;
  byId("how-far").max = next.total;
  byId("how-far").value = next.done;
  byId("count").textContent = `${next.done} of ${next.total}`;
  byId("undo").disabled = next.undo === null;
  tell(told || `${next.done} of ${next.total} are done.`);
  trial = null;
  if (next.trial === null) view("done");
  else if (next.rest && told) view("rest");
  else return showTrial();
  const first = next.trial === null ? byId("title") : byId("go-on");
  first.focus({ preventScroll: true });
}

function enterView() {
  visit++;
  sessionStorage.removeItem(RATER);
  standing = trial = null;
  byId("who").textContent = "Compare pictures";
  view("enter");
  byId("name").focus();
}

// --- a trial

function showTrial() {
  const asked = standing.trial;
  const number = ++showing;
  view("trial");
  stage.classList.add("waiting");
  stage.classList.remove("held");
  byId("loading").hidden = false;
  byId("loading").textContent = "Loading…";
  trial = { ...asked, since: 0, looks: 0, seen: new Set(), open: false };
  side = "left";
  layout();
  enable();
  const images = all("[data-image]");
  for (const image of images) image.src = "/picture/" + asked[image.dataset.image];
  Promise.all(images.map((image) => image.decode())).then(
    () => number === showing && reveal(),
    () => number === showing && pictureTrouble()
  );
}

function reveal() {
  layout();
  byId("loading").hidden = true;
  stage.classList.remove("waiting");
  for (const frame of all(".frame")) frame.scrollTo(0, 0);
  // Counted from when it can be seen.
  requestAnimationFrame(() => {
    if (trial === null) return;
    trial.since = performance.now();
    trial.open = true;
    seen();
  });
}

function pictureTrouble() {
  byId("loading").textContent = "A picture cannot be shown. Reload the page; if that does not help, tell the person who runs this.";
}

// One pixel of a picture is one pixel of the screen, whatever the zoom of the browser.
function layout() {
  if (trial === null || document.body.dataset.at !== "trial") return;
  place();
  if (notice()) place(); // the note takes room itself
}

function place() {
  const ratio = window.devicePixelRatio;
  const [width, height] = [trial.width / ratio, trial.height / ratio];
  const inner = getComputedStyle(stage);
  const room = stage.clientWidth - parseFloat(inner.paddingLeft) - parseFloat(inner.paddingRight);
  const fits = (panes) => panes * width + (panes - 1) * GAP <= room;
  const panes = [3, 2, 1].find(fits) || (room >= 2 * LEAST + GAP ? 2 : 1);
  for (const pane of all("[data-pane]")) {
    const name = pane.dataset.pane;
    pane.hidden = panes === 1 ? name !== side : name === "reference" && panes === 2;
  }
  for (const button of all("[data-turn]")) button.setAttribute("aria-pressed", String(button.dataset.turn === side));
  byId("turn").hidden = panes > 1;
  for (const part of all(".sheet, [data-image]")) resize(part, width, height);
  const frameWidth = Math.min(width, Math.floor((room - (panes - 1) * GAP) / panes));
  const frameHeight = Math.min(height, Math.max(LEAST, Math.floor(window.innerHeight - besides(inner))));
  for (const one of all(".frame")) resize(one, frameWidth, frameHeight);
  const whole = frameWidth >= width && frameHeight >= height;
  for (const one of all(".frame")) {
    snap(one, ratio);
    one.tabIndex = whole ? -1 : 0; // with something to scroll
  }
  mode = { panes, whole, width: Math.round(frameWidth * ratio), height: Math.round(frameHeight * ratio) };
  stage.classList.toggle("partial", !whole);
}

// The height of all that belongs to a question except the pictures, so that it stays in sight with them.
function besides(inner) {
  const [box, main] = [stage.getBoundingClientRect(), document.querySelector("main").getBoundingClientRect()];
  const caption = Math.max(...all(".pane figcaption").map((one) => one.offsetHeight));
  const padding = parseFloat(inner.paddingTop) + parseFloat(inner.paddingBottom);
  return box.top + window.scrollY + padding + caption + main.bottom - box.bottom;
}

function resize(part, width, height) {
  part.style.width = width + "px";
  part.style.height = height + "px";
}

// A frame that begins between two pixels of the screen would blur its picture or its edges.
function snap(frame, ratio) {
  frame.style.left = frame.style.top = "0";
  const box = frame.getBoundingClientRect();
  const off = (at) => (Math.round(at * ratio) - at * ratio) / ratio;
  frame.style.left = off(box.left + window.scrollX) + "px";
  frame.style.top = off(box.top + window.scrollY) + "px";
}

// Says what keeps the pictures from being seen as they are; true if that changed the room they have.
function notice() {
  const before = byId("fit").offsetHeight;
  const zoomed = window.visualViewport && Math.abs(window.visualViewport.scale - 1) > 0.01;
  let text = "";
  if (zoomed) text = "The page is zoomed with two fingers, which rescales the pictures. Zoom out again.";
  else if (!mode.whole) {
    text = `The window is too small for these pictures of ${trial.width} × ${trial.height} pixels: ` +
      `it shows ${mode.width} × ${mode.height} of them, at their true size. Enlarge it if you can; ` +
      "drag or scroll in a picture to move all of them.";
  }
  byId("fit").textContent = text;
  byId("fit").hidden = text === "";
  return byId("fit").offsetHeight !== before;
}

function seen() {
  if (mode.panes > 1) trial.seen.add("left").add("right");
  else trial.seen.add(side);
  enable();
}

// Not disabled by attribute: a button that loses the focus would leave the keyboard nowhere.
function enable() {
  const ready = trial !== null && trial.open && trial.seen.size === 2;
  for (const button of all("[data-answer]")) {
    button.setAttribute("aria-disabled", String(!ready));
    button.title = trial !== null && trial.open && !ready ? "Look at both first" : "";
  }
}

function turn(name) {
  if (trial === null || mode.panes > 1) return;
  side = name;
  layout();
  if (trial.open) seen();
}

function hold(on) {
  const now = on && trial !== null && trial.open;
  if (now && !stage.classList.contains("held")) {
    trial.looks++;
    tell("The reference is shown.");
  }
  stage.classList.toggle("held", now);
  byId("hold").classList.toggle("down", now);
}

async function answer(name) {
  if (trial === null || !trial.open || trial.seen.size < 2 || performance.now() - trial.since < QUICK) return;
  const given = trial;
  trial.open = false;
  hold(false);
  enable();
  const body = {
    rater: standing.rater, trial: given.token, answer: newToken(), right: name === "neither" ? null : name === "right",
    milliseconds: Math.round(performance.now() - given.since), looks: given.looks,
    ratio: window.devicePixelRatio, width: window.innerWidth, height: window.innerHeight,
    panes: mode.panes, whole: Number(mode.whole), zoom: window.visualViewport ? window.visualViewport.scale : 1,
  };
  await proceed("answer", body, `${{ left: "A", right: "B", neither: "No difference" }[name]} was noted.`);
}

async function undo() {
  if (standing === null || byId("undo").disabled) return;
  byId("undo").disabled = true;
  if (trial !== null) trial.open = false;
  enable();
  await proceed("undo", { rater: standing.rater, trial: standing.undo }, "The last answer was taken back.");
}

async function refresh() {
  if (standing !== null) await proceed("standing", { rater: standing.rater });
}

async function proceed(name, body, told) {
  const now = visit;
  const reply = await call(name, body);
  if (now !== visit) return;
  if (reply.status === 200) return showStanding(reply.body, told);
  if (reply.status === 404) {
    enterView();
    return trouble(reply.body.error);
  }
  if (reply.status === 409) {
    await proceed("standing", { rater: body.rater });
    return trouble(reply.body.error);
  }
  trouble(reply.body.error || "Something went wrong; reload the page.");
}

// --- keys, fingers, mouse

byId("enter").addEventListener("submit", async (event) => {
  event.preventDefault();
  await proceed("enter", { name: byId("name").value });
});
for (const button of all("[data-answer]")) {
  button.addEventListener("click", (event) => {
    if (event.detail > 0) button.blur(); // or the space bar would press it again instead of showing the reference
    if (event.detail < 2) answer(button.dataset.answer);
  });
}
for (const button of all("[data-turn]")) button.addEventListener("click", () => turn(button.dataset.turn));
byId("undo").addEventListener("click", undo);
byId("go-on").addEventListener("click", showTrial);
byId("leave").addEventListener("click", enterView);

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.tagName === "INPUT") return;
  if (event.repeat && event.key === "Enter") event.preventDefault();
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  if (key === "z" && !event.repeat) return undo();
  if (document.body.dataset.at !== "trial") return;
  if (key === " ") holdKey(event);
  else if (!event.repeat) choiceKey(event, key);
});

function choiceKey(event, key) {
  const arrows = event.target.classList.contains("frame") && !mode.whole ? {} : { ArrowLeft: "left", ArrowRight: "right", ArrowDown: "neither" };
  const chosen = { a: "left", b: "right", n: "neither", ...arrows }[key];
  if (key === "s") return turn(side === "left" ? "right" : "left");
  if (chosen === undefined || !document.querySelector(`[data-answer="${chosen}"]`)) return;
  event.preventDefault();
  const unseen = trial !== null && trial.open && ["left", "right"].find((name) => !trial.seen.has(name));
  if (unseen && (chosen === unseen || chosen === "neither")) turn(unseen);
  else answer(chosen);
}

function holdKey(event) {
  if (event.target.tagName === "BUTTON" && event.target.id !== "hold") return;
  event.preventDefault();
  hold(true);
}

document.addEventListener("keyup", (event) => event.key === " " && hold(false));
window.addEventListener("blur", () => hold(false));

function makeHold(place) {
  const moves = place.classList.contains("frame");
  let from = null;
  let timer = 0;
  const end = () => {
    clearTimeout(timer);
    from = null;
    hold(false);
  };
  place.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    from = { x: event.clientX, y: event.clientY, left: place.scrollLeft, top: place.scrollTop };
    if (mode.whole || !moves) hold(true);
    else timer = setTimeout(() => hold(true), STILL);
  });
  place.addEventListener("pointermove", (event) => {
    if (from === null || !moves || mode.whole || event.pointerType !== "mouse") return;
    const [x, y] = [event.clientX - from.x, event.clientY - from.y];
    if (Math.abs(x) + Math.abs(y) > 4) clearTimeout(timer);
    if (!stage.classList.contains("held")) place.scrollTo(from.left - x, from.top - y);
  });
  for (const name of ["pointerup", "pointercancel", "pointerleave"]) place.addEventListener(name, end);
  place.addEventListener("contextmenu", (event) => event.preventDefault());
}

[byId("hold"), ...all(".frame")].forEach(makeHold);

// Panes move together.
for (const frame of all(".frame")) {
  frame.addEventListener("scroll", () => {
    for (const other of all(".frame")) {
      if (other !== frame && (other.scrollLeft !== frame.scrollLeft || other.scrollTop !== frame.scrollTop))
        other.scrollTo(frame.scrollLeft, frame.scrollTop);
    }
  });
}

window.addEventListener("resize", () => { layout(); if (trial && trial.open) seen(); });
if (window.visualViewport) window.visualViewport.addEventListener("resize", () => trial && layout());
// A page that comes back from the browser's memory is behind.
window.addEventListener("pageshow", (event) => event.persisted && refresh());

const known = sessionStorage.getItem(RATER);
if (known === null) enterView();
else proceed("standing", { rater: known });
