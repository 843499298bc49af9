// Which shift, turn and zoom lies between two pictures: pim/pim/registration of the Python package, step by step.
// A warp {a, b, x, y} says where the content of a place of the reference lies in the distorted picture: p = (u, v), in
// pixels from the middle, goes to (a u - b v + x, b u + a v + y).

import { cubic, linear } from "./picture.js";
import { correlate } from "./fourier.js";

const SEARCHED = 96, LARGEST = 1 << 19, STILL = 0.1, SAME = 0.7;
const TURNS = [-20, -15, -10, -5, 0, 5, 10, 15, 20], ZOOMS = [0.9, 1, 1.11];
const STARTS = 4, STEPS = [10, 5, 4], BETTER = 0.85, OVERLAP = 0.5;
const NONE = { a: 1, b: 0, x: 0, y: 0 };

/** Find the displacement between lumas of one size: {warp, found, pixels, x, y, turn, zoom}. */
export function register(reference, distorted) {
  const size = { width: reference.width, height: reference.height };
  const first = copies(reference), second = copies(distorted);
  const here = step(analyse(first.images[0], first.lattices[0]), second.images[0], NONE);
  if (meanLength(here.motion, size) < STILL && here.correlation >= SAME) return displacement(NONE, size, false);
  const warp = polish(smooth(reference), smooth(distorted), search(first, second));
  return believed(first, second, warp) ? displacement(warp, size, true) : displacement(NONE, size, false);
}

function displacement(warp, size, found) {
  return {
    warp, found, x: warp.x, y: warp.y, pixels: meanLength(warp, size),
    turn: Math.atan2(warp.b, warp.a) * 180 / Math.PI, zoom: 100 * (Math.hypot(warp.a, warp.b) - 1),
  };
}

/** Where a warp takes pixels of a picture: (column, row) -> [column, row]. */
export function places({ a, b, x, y }, { width, height }) {
  const middle = (width - 1) / 2, center = (height - 1) / 2;
  return (column, row) => {
    const u = column - middle, v = row - center;
    return [a * u - b * v + x + middle, b * u + a * v + y + center];
  };
}

function meanLength({ a, b, x, y }, { width, height }) {
  let sum = 0;
  for (let i = 0; i < 256; i++) {
    const u = ((i % 16 + 0.5) / 16 - 0.5) * width, v = (((i >> 4) + 0.5) / 16 - 0.5) * height;
    sum += Math.hypot((a - 1) * u - b * v + x, b * u + (a - 1) * v + y);
  }
  return sum / 256;
}

/** The warp p -> second(first(p)). */
function then(first, second) {
  return {
    a: second.a * first.a - second.b * first.b, b: second.b * first.a + second.a * first.b,
    x: second.a * first.x - second.b * first.y + second.x, y: second.b * first.x + second.a * first.y + second.y,
  };
}

function inverse({ a, b, x, y }) {
  const square = a * a + b * b;
  return { a: a / square, b: -b / square, x: -(a * x + b * y) / square, y: -(a * y - b * x) / square };
}

/** Reduced lumas, finest first, where their pixels lie, and the means of wide surroundings on the smallest. */
function copies(luma) {
  let factor = finest(luma);
  const at = (side) => ({ width: luma.width, height: luma.height, factor: side, every: 1 });
  const images = [smooth(pool(luma, factor))], lattices = [at(factor)];
  for (let last = images[0]; Math.max(last.width, last.height) > SEARCHED && Math.min(last.width, last.height) >= 32;) {
    images.push(last = pool(last, 2));
    lattices.push(at(factor *= 2));
  }
  const last = images.at(-1);
  return { images, lattices, surround: boxMean(last, (Math.min(last.width, last.height) >> 2 | 1) >> 1) };
}

function finest({ width, height }) {
  let factor = Math.min(width, height) < 128 ? 1 : 2;
  while (width * height > LARGEST * factor ** 2) factor *= 2;
  return factor;
}

/** An image made pixel by pixel. */
function made(width, height, value) {
  const data = new Float32Array(width * height);
  for (let y = 0, i = 0; y < height; y++) for (let x = 0; x < width; x++) data[i++] = value(x, y);
  return { width, height, channels: 1, step: 1, data };
}

function pool({ width, height, data }, side) {
  return made(Math.floor(width / side), Math.floor(height / side), (x, y) => {
    let sum = 0;
    for (let j = 0; j < side; j++) for (let i = 0; i < side; i++) sum += data[(y * side + j) * width + x * side + i];
    return sum / side ** 2;
  });
}

/** Without the finest noise: weights 1, 2, 1 both ways. */
function smooth(image) {
  const { width, height, data } = image;
  const wide = made(width, height, (x, y) => {
    const row = y * width;
    return (data[row + Math.max(x - 1, 0)] + 2 * data[row + x] + data[row + Math.min(x + 1, width - 1)]) / 4;
  }).data;
  return made(width, height, (x, y) => {
    const above = Math.max(y - 1, 0) * width, below = Math.min(y + 1, height - 1) * width;
    return (wide[above + x] + 2 * wide[y * width + x] + wide[below + x]) / 4;
  });
}

/** The mean of what lies within `reach` pixels along both axes and inside the image. */
function boxMean({ width, height, data }, reach) {
  return made(width, height, (x, y) => {
    let sum = 0, count = 0;
    const right = Math.min(x + reach, width - 1), bottom = Math.min(y + reach, height - 1);
    for (let j = Math.max(y - reach, 0); j <= bottom; j++) {
      for (let i = Math.max(x - reach, 0); i <= right; i++, count++) sum += data[j * width + i];
    }
    return sum / count;
  });
}

/** What an image has beside its surroundings. */
function details({ images, surround }, level) {
  const { width, height, data } = images.at(level);
  const across = surround.width / width, down = surround.height / height;
  const around = (x, y) => linear(surround, (x + 0.5) * across - 0.5, (y + 0.5) * down - 0.5);
  return made(width, height, (x, y) => data[y * width + x] - around(x, y));
}

/** Call with the index of every position of a lattice, where it lies in the copy, and where a warp takes it there. */
function walk({ width, height, factor, every }, { a, b, x, y }, visit) {
  const columns = Math.floor(width / factor), rows = Math.floor(height / factor);
  let index = 0;
  for (let row = 0; row < rows; row += every) {
    for (let column = 0; column < columns; column += every, index++) {
      const u = (column + 0.5) * factor - width / 2, v = (row + 0.5) * factor - height / 2;
      const px = (a * u - b * v + x + width / 2) / factor - 0.5, py = (b * u + a * v + y + height / 2) / factor - 0.5;
      visit(index, u, v, px, py, px >= 0 && py >= 0 && px <= columns - 1 && py <= rows - 1, column, row);
    }
  }
  return index;
}

/** What a reference contributes to every step: itself and its change with shift right, shift down, growth and turn. */
function analyse({ width, height, data }, lattice) {
  const reach = Math.hypot(lattice.width, lattice.height) / 2;
  const slope = (index, at, last, pitch) => {
    const before = at > 0 ? index - pitch : index, after = at < last ? index + pitch : index;
    return before === after ? 0 : (data[after] - data[before]) / ((after - before) / pitch * lattice.factor);
  };
  const rows = [];
  const count = walk(lattice, NONE, (_, u, v, px, py, inside, column, row) => {
    const at = row * width + column;
    const right = slope(at, column, width - 1, 1), down = slope(at, row, height - 1, width);
    rows.push(data[at], right, down, (right * u + down * v) / reach, (down * u - right * v) / reach);
  });
  return { rows: Float32Array.from(rows), lattice, reach, count };
}

/** One step uphill in the enhanced correlation coefficient from a warp: {correlation, motion, share}. */
function step(known, distorted, warp, read = linear) {
  const moments = new Float64Array(49), seen = new Float64Array(7);
  walk(known.lattice, warp, (index, u, v, px, py, inside) => {
    if (!inside) return;
    seen[0] = 1;
    for (let i = 0; i < 5; i++) seen[i + 1] = known.rows[5 * index + i];
    seen[6] = read(distorted, px, py);
    for (let i = 0; i < 7; i++) for (let j = i; j < 7; j++) moments[7 * i + j] += seen[i] * seen[j];
  });
  const count = Math.max(moments[0], 1), reach = known.reach;
  const spread = (i, j) => (i > j ? spread(j, i) : moments[7 * i + j] - moments[i] * moments[j] / count);
  const { correlation, amounts } = ascend(spread);
  const [right, down, growth, turn] = amounts.map((amount) => Math.min(Math.max(amount, -reach / 2), reach / 2));
  const motion = { a: 1 + growth / reach, b: turn / reach, x: right, y: down };
  return { correlation, motion, share: moments[0] / known.count };
}

/** The correlation of reference (1) and distorted (6), and the change of the reference (2 to 5) that raises it most. */
function ascend(spread) {
  const tiny = Number.MIN_VALUE, changes = [2, 3, 4, 5];
  const ridge = changes.reduce((sum, i) => sum + spread(i, i), 0) / 4 * 1e-6 + tiny;
  const row = (i) => changes.map((j) => spread(i, j) + (i === j ? ridge : 0));
  const table = changes.map((i) => [...row(i), spread(i, 1), spread(i, 6)]);
  solve(table);
  const fitted = (k) => changes.reduce((sum, i, n) => sum + spread(1, i) * table[n][k], 0);
  const over = spread(1, 1) - fitted(4), under = spread(1, 6) - fitted(5);
  const gain = under > 0 ? over / under : 0;
  const product = Math.sqrt(spread(1, 1) * spread(6, 6));
  return { correlation: product > 0 ? spread(1, 6) / product : 0, amounts: table.map((row) => row[5] * gain - row[4]) };
}

/** Solve a table of n rows [matrix | right sides], in place, by elimination. */
function solve(table) {
  for (let k = 0; k < table.length; k++) {
    let pivot = k;
    for (let i = k; i < table.length; i++) if (Math.abs(table[i][k]) > Math.abs(table[pivot][k])) pivot = i;
    [table[k], table[pivot]] = [table[pivot], table[k]];
    table[k] = table[k].map((value) => value / table[k][k]);
    table.forEach((row, i) => {
      if (i !== k) table[i] = row.map((value, j) => value - row[k] * table[k][j]);
    });
  }
}

/** The best of the warps on the way from one, and its correlation. */
function climb(known, distorted, warp, steps, read) {
  let best = warp, highest = -1;
  for (let i = 0; i < steps; i++) {
    const here = step(known, distorted, warp, read);
    if (here.correlation > highest && here.share >= OVERLAP) [best, highest] = [warp, here.correlation];
    warp = then(inverse(here.motion), warp);
  }
  return { warp: best, fit: highest };
}

/** The warp that fits best on the copies. */
function search(first, second) {
  const reference = details(first, -1), distorted = details(second, -1), lattice = first.lattices.at(-1);
  const known = analyse(reference, lattice);
  let found = { fit: -2 };
  for (const start of [NONE, ...likely(reference, distorted, lattice)]) {
    const here = climb(known, distorted, start, STEPS[0]);
    if (here.fit > found.fit) found = here;
  }
  for (let i = first.images.length - 2; i > 0; i--) {
    found = climb(analyse(first.images[i], first.lattices[i]), second.images[i], found.warp, STEPS[1]);
  }
  return found.warp;
}

/** The likeliest warps, each of another turn or zoom, from correlation over all shifts. */
function likely(reference, distorted, lattice) {
  const found = [];
  for (const zoom of ZOOMS) {
    for (const degrees of TURNS) {
      const angle = degrees * Math.PI / 180;
      const turned = { a: zoom * Math.cos(angle), b: zoom * Math.sin(angle), x: 0, y: 0 };
      const image = made(reference.width, reference.height, () => 0);
      walk(lattice, turned, (i, u, v, px, py, inside) => { if (inside) image.data[i] = linear(distorted, px, py); });
      const { peak, x, y } = correlate(reference, image);
      found.push({ peak, warp: then({ a: 1, b: 0, x: x * lattice.factor, y: y * lattice.factor }, turned) });
    }
  }
  return found.sort((one, other) => other.peak - one.peak).slice(0, STARTS).map(({ warp }) => warp);
}

/** The same, right to some hundredths of a pixel. */
function polish(reference, distorted, warp) {
  const lattice = { width: reference.width, height: reference.height, factor: 1, every: finest(reference) };
  const value = new Float64Array(1);
  const read = (image, x, y) => (cubic(image, x, y, value), value[0]);
  return climb(analyse(reference, lattice), distorted, warp, STEPS[2], read).warp;
}

/** Whether a warp explains the pair: enough overlap, the same things to be seen, more alike than as they lie. */
function believed(first, second, warp) {
  const lattice = first.lattices[0], reference = details(first, 0), distorted = details(second, 0);
  const pairs = { r: [], before: [], after: [] };
  walk(lattice, warp, (i, u, v, px, py, inside) => {
    if (!inside) return;
    pairs.r.push(reference.data[i]);
    pairs.before.push(distorted.data[i]);
    pairs.after.push(linear(distorted, px, py));
  });
  const before = correlation(pairs.r, pairs.before), after = correlation(pairs.r, pairs.after);
  let inside = 0;
  const all = walk({ ...lattice, factor: 1, every: lattice.factor }, warp, (...at) => { inside += at[5]; });
  const chance = 1 - after ** 2 > BETTER * (1 - before ** 2) || meanLength(warp, lattice) < STILL;
  return inside / all >= OVERLAP && after >= SAME && !chance;
}

function correlation(a, b) {
  const mean = (values) => values.reduce((sum, value) => sum + value, 0) / Math.max(values.length, 1);
  const ma = mean(a), mb = mean(b);
  let ab = 0, aa = 0, bb = 0;
  for (let i = 0; i < a.length; i++) {
    ab += (a[i] - ma) * (b[i] - mb);
    aa += (a[i] - ma) ** 2;
    bb += (b[i] - mb) ** 2;
  }
  return ab / Math.sqrt(Math.max(aa * bb, 1e-12));
}
