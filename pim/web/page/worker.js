// The work behind the page: opens the pictures, compares them, draws the map. Nothing of them leaves it but the result.

import * as ort from "./runtime/ort.wasm.min.mjs";
import { canvasIsHonest, open, Refused } from "./picture.js";
import { drawn } from "./heatmap.js";
import { mapOf, score } from "./score.js";

ort.env.wasm.numThreads = 1;
ort.env.wasm.wasmPaths = new URL("./runtime/", import.meta.url).href;

const DISTURBED = "This browser disturbs the pixels that a page reads, as a protection against tracking. "
  + "Allow this page to read the canvas, or use another browser.";

class Outdated extends Error {} // other pictures have been chosen
let latest, ready;

async function load() {
  const facts = await (await fetch("facts.json")).json();
  const session = await ort.InferenceSession.create("pim.onnx", { executionProviders: ["wasm"] });
  const measure = async (pair, width, height) => {
    const input = new ort.Tensor("float32", pair, [2, 3, height, width]);
    const found = await session.run({ pair: input });
    return session.outputNames.map((name) => found[name].data);
  };
  return { facts, measure };
}

async function compare({ job, files }) {
  const told = async (doing, share) => {
    postMessage({ job, doing, share });
    await new Promise((go) => setTimeout(go)); // lets in what has come meanwhile
    if (job !== latest) throw new Outdated();
  };
  await told("loading the metric");
  const { facts, measure } = await (ready ??= load().catch(({ message }) => {
    throw new Refused(`The metric could not be loaded: ${message}. Load the page again.`);
  }));
  await told("opening the pictures");
  if (!canvasIsHonest()) throw new Refused(DISTURBED);
  const [reference, distorted] = [await open(files[0]), await open(files[1])];
  const size = ({ width, height }) => `${width}\u00a0×\u00a0${height}`;
  if (size(reference) !== size(distorted)) {
    const sizes = `${size(reference)} and ${size(distorted)} pixels`;
    throw new Refused(`The pictures have different sizes, ${sizes}. Both must show the same at the same size.`);
  }
  if (Math.min(reference.width, reference.height) < facts.smallest) {
    throw new Refused(`The pictures have ${size(reference)} pixels; each side must have ${facts.smallest} or more.`);
  }
  const { best, ...result } = await score(measure, reference, distorted, facts, told);
  const map = mapOf(best.bands, facts.bandWeights);
  const { pictures, highest } = drawn(map, best.distorted, facts.colours);
  const mean = map.data.reduce((sum, value) => sum + value, 0) / map.data.length;
  const compared = { left: best.left, aligned: Boolean(best.displacement), toned: Boolean(best.tone), mean, highest };
  postMessage({ job, result: { ...result, compared }, pictures }, pictures);
}

onmessage = async ({ data }) => {
  latest = data.job;
  try {
    await compare(data);
  } catch (error) {
    if (error instanceof Outdated) return;
    const words = error instanceof Refused ? error.message : `This did not work: ${error.message ?? error}`;
    postMessage({ job: data.job, refused: words });
  }
};
