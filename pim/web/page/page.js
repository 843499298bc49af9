// The page: takes two pictures by choice or by dropping, has them compared by the worker, and shows what it found.

import { describe, place } from "./words.js";

const JPEG = "JPEG quality {}", OTHER = "another photograph";
const SHOWN = [[JPEG, 90, "JPEG 90"], [JPEG, 50, "50"], [JPEG, 20, "20"], [JPEG, 5, "5"], [OTHER, null, OTHER]];
const FIRST = 0.03, LAST = 1.4; // ends of the ruler, whose steps are even in the logarithm

const $ = (id) => document.getElementById(id);
const slots = [...document.querySelectorAll(".slot")], files = [null, null];
const worker = new Worker("worker.js", { type: "module" });
const facts = await (await fetch("facts.json")).json();
const LOST = "Parts of this page could not be loaded. Load it again, or start it with pim web.";
let job = 0, pictures = null, broken = false;

slots.forEach((slot, side) => {
  const input = slot.querySelector("input");
  input.addEventListener("change", () => {
    const chosen = [...input.files];
    input.value = ""; // so that the same file can be chosen again, after another was dropped
    if (chosen.length) take(chosen, side);
  });
  for (const kind of ["dragover", "dragleave", "drop"]) {
    slot.addEventListener(kind, () => slot.classList.toggle("over", kind === "dragover"));
  }
});
addEventListener("dragover", (event) => event.preventDefault());
addEventListener("drop", (event) => {
  event.preventDefault();
  const dropped = [...event.dataTransfer.files], on = slots.findIndex((slot) => slot.contains(event.target));
  if (dropped.length) take(dropped, on >= 0 ? on : files[0] ? 1 : 0);
});
worker.addEventListener("message", ({ data }) => data.job === job && answer(data));
worker.addEventListener("error", () => {
  broken = true;
  say(LOST, true);
});
$("over").addEventListener("change", draw);
$("shades").style.background = `linear-gradient(to right, ${facts.colours.map((c) => `rgb(${c})`).join(", ")})`;

/** Put one picture into a slot, or two into both. */
function take(given, side) {
  if (given.length > 1) [files[0], files[1]] = given;
  else files[side] = given[0];
  slots.forEach((slot, i) => files[i] && show(slot, files[i]));
  $("result").hidden = true;
  if (broken) return say(LOST, true);
  if (!files[0] || !files[1]) return say(`Now the ${files[0] ? "distorted picture" : "reference"}.`);
  worker.postMessage({ job: ++job, files });
}

function show(slot, file) {
  const image = slot.querySelector("img");
  if (image.dataset.of === `${file.name} ${file.size} ${file.lastModified}`) return;
  image.dataset.of = `${file.name} ${file.size} ${file.lastModified}`;
  URL.revokeObjectURL(image.src);
  image.src = URL.createObjectURL(file);
  image.alt = file.name;
  image.hidden = false;
  image.onerror = () => { image.hidden = true; };
  slot.querySelector(".file").textContent = file.name;
}

function answer({ doing, share, refused, result, pictures: drawn }) {
  $("progress").hidden = !doing || share === undefined;
  $("progress").value = share ?? 0;
  if (doing) return say(`${doing[0].toUpperCase()}${doing.slice(1)} …`);
  if (refused) return say(refused, true);
  pictures = drawn;
  report(result);
}

function say(text, refused = false) {
  $("status").textContent = text;
  $("status").classList.toggle("refused", refused);
}

function report({ value, plain, change, displacement, compared }) {
  $("result").hidden = false; // before it is filled, so that it is read out
  $("value").textContent = number(value);
  $("meaning").textContent = value ? place(value, facts.ruler) : "identical";
  $("change").textContent = change
    ? `Found: ${describe(change)}; what is left: ${number(change.left)}. As the pictures lie: ${number(plain)}.`
    : "Neither displaced nor of another tone.";
  const back = [compared.aligned && "displacement", compared.toned && "tone"].filter(Boolean).join(" and ");
  const where = `Where they differ${back && `, with ${back} taken back`}.`;
  $("caption").textContent = `${where} The mean of the map is ${number(compared.left)}.`;
  $("highest").textContent = number(compared.highest);
  $("ruler").replaceChildren(...SHOWN.map(mark), needle(value));
  const told = { value, plain, left: change?.left ?? value, mean: compared.mean };
  Object.assign($("result").dataset, told, { displacement: JSON.stringify(displacement) }); // all digits
  say("");
  draw();
}

/** A number as it is told: three digits that count. */
function number(value) {
  return Number(value.toPrecision(3)).toString();
}

function mark([change, amount, name]) {
  const element = document.createElement("span");
  element.textContent = name;
  return at(element, facts.ruler.find((row) => row[0] === change && row[1] === amount)[2]);
}

function needle(value) {
  return at(document.createElement("i"), value);
}

function at(element, value) {
  const share = Math.log(Math.max(value, FIRST) / FIRST) / Math.log(LAST / FIRST);
  element.style.left = `${100 * Math.min(share, 1)}%`;
  return element;
}

function draw() {
  const picture = pictures[Number($("over").checked)], canvas = $("map");
  [canvas.width, canvas.height] = [picture.width, picture.height];
  canvas.style.maxWidth = `${2 * picture.width}px`;
  canvas.getContext("2d").drawImage(picture, 0, 0);
}
