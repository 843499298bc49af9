// The distance that `pim score` prints: of the pictures as they lie, aligned, and with their tone taken back as well,
// the least, with what the change costs added.

import { cut, gray, moved } from "./picture.js";
import { places, register } from "./registration.js";
import { registerTone, takeBack } from "./tone.js";

const TILE = 1024, HALO = 112; // pixels; multiples of what the coarsest position covers, and at least what it sees
const STRIDES = [16, 8, 4, 4]; // pixels from one position of each band to the next
const TRIED = 512; // columns at which the largest rectangle may begin or end

/** Compare pictures of one size: {value, plain, displacement, change, best}.
 *
 * change is what was taken back, {displacement, tone, left}, or null; best is what gave the value. */
export async function score(measure, reference, distorted, facts, told) {
  await told("looking for displacement");
  const displacement = register(gray(reference), gray(distorted));
  const stages = [{ reference: cut(reference), distorted: cut(distorted), cost: 0 }];
  if (displacement.found) stages.push(overlay(reference, distorted, displacement, facts));
  const last = stages.at(-1), tone = registerTone(last.reference, last.distorted);
  if (tone) {
    stages.push({ ...last, distorted: takeBack(last.distorted, tone), tone, cost: last.cost + costOf(tone, facts) });
  }
  const tried = stages.filter(({ reference: { width, height } }) => Math.min(width, height) >= facts.smallest);
  for (const [i, stage] of tried.entries()) {
    stage.bands = await divergences(measure, stage, (share) => told("comparing", (i + share) / tried.length));
    stage.left = distance(stage.bands, facts.bandWeights);
  }
  const least = (key) => tried.reduce((best, stage) => (key(stage) < key(best) ? stage : best));
  const best = least((stage) => stage.left + stage.cost), closest = least((stage) => stage.left);
  const { left, displacement: place, tone: light } = closest;
  const change = closest === tried[0] ? null : { left, displacement: place, tone: light };
  return { value: best.left + best.cost, plain: tried[0].left, displacement, change, best };
}

function costOf({ contrast, brightness }, { unit, charges }) {
  const change = Math.log(contrast), by = Math.max(-change, 0) + charges.more * Math.max(change, 0);
  const light = brightness.reduce((sum, value) => sum + Math.abs(value), 0) / 3;
  return unit * (charges.contrast * by + charges.brightness * light);
}

/** Lay the distorted picture on its reference, and cut both to the largest rectangle that both show. */
function overlay(reference, distorted, displacement, { unit, charges }) {
  const { width, height } = reference, at = places(displacement.warp, reference);
  const [left, right, top, bottom] = largest(width, height, (column, row) => {
    const [x, y] = at(column, row);
    return x >= 0 && y >= 0 && x <= width - 1 && y <= height - 1;
  });
  const area = [left, top, right - left, bottom - top];
  return {
    reference: cut(reference, ...area), distorted: moved(distorted, at, ...area),
    displacement, cost: unit * charges.pixel * displacement.pixels,
  };
}

/** Left, right, top, bottom of the largest rectangle in a convex area. */
function largest(width, height, inside) {
  const columns = [], pitch = Math.ceil(width / TRIED);
  for (let x = 0; x < width; x += pitch) {
    let first = 0, last = height;
    while (first < height && !inside(x, first)) first++;
    while (last > first && !inside(x, last - 1)) last--;
    columns.push([x, first, last]);
  }
  let best = [0, 0, 0, 0], most = 0;
  for (const [left, top, bottom] of columns) {
    for (const [right, high, low] of columns) {
      const upper = Math.max(top, high), lower = Math.min(bottom, low), area = (right + 1 - left) * (lower - upper);
      if (right >= left && area > most) [best, most] = [[left, right + 1, upper, lower], area];
    }
  }
  return best;
}

/** What the network finds different at every position of each band, tile by tile: [{width, height, data}]. */
async function divergences(measure, { reference, distorted }, told) {
  const { width, height } = reference;
  const bands = STRIDES.map((stride) => ({ width: Math.ceil(width / stride), height: Math.ceil(height / stride) }));
  for (const band of bands) band.data = new Float32Array(band.width * band.height);
  const tiles = [];
  for (let top = 0; top < height; top += TILE) for (let left = 0; left < width; left += TILE) tiles.push([left, top]);
  for (const [i, [left, top]] of tiles.entries()) {
    await told(i / tiles.length);
    const x = Math.max(left - HALO, 0), y = Math.max(top - HALO, 0);
    const w = Math.min(left + TILE + HALO, width) - x, h = Math.min(top + TILE + HALO, height) - y;
    const pair = new Float32Array(6 * w * h);
    reference.fill(x, y, w, h, pair.subarray(0, 3 * w * h));
    distorted.fill(x, y, w, h, pair.subarray(3 * w * h));
    const found = await measure(pair, w, h);
    bands.forEach((band, k) => paste(band, found[k], STRIDES[k], { left, top, x, y, w }));
  }
  return bands;
}

/** Put what belongs to a tile, less its surroundings, in its place. */
function paste(band, values, stride, { left, top, x, y, w }) {
  const pitch = Math.ceil(w / stride), right = Math.min((left + TILE) / stride, band.width);
  for (let row = top / stride; row < Math.min((top + TILE) / stride, band.height); row++) {
    const from = (row - y / stride) * pitch - x / stride;
    band.data.set(values.subarray(from + left / stride, from + right), row * band.width + left / stride);
  }
}

/** D: the mean over bands of weight times root mean square. */
function distance(bands, weights) {
  return bands.reduce((sum, band, k) => sum + weights[k] * rootMean(band), 0) / bands.length;
}

function rootMean({ data }) {
  return Math.sqrt(data.reduce((sum, value) => sum + value, 0) / data.length);
}

/** A map on the positions of the finest band, whose mean is the distance: `distance_map` of pim/pim/maps. */
export function mapOf(bands, weights) {
  const { width, height } = bands.at(-1), total = new Float32Array(width * height);
  bands.forEach((band, k) => {
    const whole = rootMean(band);
    if (!whole) return;
    const places = spread(boxes(boxes(band)), width, height);
    for (let i = 0; i < total.length; i++) total[i] += weights[k] * places[i] / whole / bands.length;
  });
  return { width, height, data: total };
}

/** Means of 3 x 3 positions; the border is continued. */
function boxes({ width, height, data }) {
  const to = new Float32Array(data.length), near = (at, side) => [Math.max(at - 1, 0), at, Math.min(at + 1, side - 1)];
  for (let y = 0; y < height; y++) {
    const rows = near(y, height);
    for (let x = 0; x < width; x++) {
      for (const column of near(x, width)) for (const row of rows) to[y * width + x] += data[row * width + column] / 9;
    }
  }
  return { width, height, data: to };
}

/** Values at a finer grid: each position takes the mean of what it covers, so the mean stays. */
function spread({ width, height, data }, columns, rows) {
  const across = covered(columns, width), down = covered(rows, height), to = new Float32Array(columns * rows);
  for (let y = 0, k = 0; y < rows; y++) {
    const [top, bottom, upper] = down[y];
    for (let x = 0; x < columns; x++, k++) {
      const [left, right, share] = across[x];
      const line = (row) => share * data[row * width + left] + (1 - share) * data[row * width + right];
      to[k] = upper * line(top) + (1 - upper) * line(bottom);
    }
  }
  return to;
}

function covered(fine, coarse) {
  return Array.from({ length: fine }, (_, i) => {
    const first = Math.floor(i * coarse / fine);
    return [first, Math.min(first + 1, coarse - 1), Math.min((first + 1) * fine - i * coarse, coarse) / coarse];
  });
}
