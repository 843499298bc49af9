// How contrast and brightness have changed between two pictures: `register_tone` of pim/pim/registration.

const BLOCK = 8, ROUNDS = 6, LIMITS = [0.25, 4], LEFT = 0.3, CONTRAST = 0.02, BRIGHTNESS = 0.004, TINY = 1e-6;
const COLOURS = [0, 1, 2];

/** Find the change of tone between two views of one size; null if none explains the pair, or they hold no block. */
export function registerTone(reference, distorted) {
  if (Math.min(reference.width, reference.height) < BLOCK) return null;
  const a = means(reference), b = means(distorted);
  const { gain, explained } = fit(a.blocks, b.blocks);
  const brightness = COLOURS.map((c) => b.mean[c] - a.mean[c]);
  const small = Math.abs(Math.log(gain)) < CONTRAST && Math.max(...brightness.map(Math.abs)) < BRIGHTNESS;
  return small || !explained ? null : { contrast: 1 / gain, brightness, mean: a.mean };
}

/** Give a view the tone of its reference, cut to [0, 1]. */
export function takeBack(view, { contrast, brightness, mean }) {
  const fill = (x, y, w, h, to) => {
    view.fill(x, y, w, h, to);
    for (const c of COLOURS) {
      for (let i = c * w * h; i < (c + 1) * w * h; i++) {
        to[i] = Math.min(Math.max((to[i] - mean[c] - brightness[c]) / contrast + mean[c], 0), 1);
      }
    }
  };
  return { ...view, fill };
}

/** The mean of each colour, and the means of all whole blocks. */
function means({ width, height, fill }) {
  const columns = Math.floor(width / BLOCK), rows = Math.floor(height / BLOCK);
  const strip = new Float32Array(3 * width * BLOCK);
  const blocks = COLOURS.map(() => new Float64Array(columns * rows)), sums = [0, 0, 0];
  for (let row = 0; row * BLOCK < height; row++) {
    const high = Math.min(BLOCK, height - row * BLOCK);
    fill(0, row * BLOCK, width, high, strip);
    for (const c of COLOURS) {
      for (let i = 0; i < width * high; i++) {
        const value = strip[c * width * high + i], column = Math.floor(i % width / BLOCK);
        sums[c] += value;
        if (row < rows && column < columns) blocks[c][row * columns + column] += value / BLOCK ** 2;
      }
    }
  }
  return { blocks, mean: sums.map((sum) => sum / (width * height)) };
}

/** The gain that brings the blocks of b to those of a, and whether that makes them alike. */
function fit(a, b) {
  const n = a[0].length, weight = new Float64Array(n).fill(1), rest = new Float64Array(n);
  let gain = 1, after, before, own;
  for (let round = 0; round < ROUNDS; round++) {
    const total = weight.reduce((sum, value) => sum + value, 0);
    const centre = (t) => t.reduce((sum, value, i) => sum + value * weight[i], 0) / total;
    const middles = COLOURS.map((c) => [centre(a[c]), centre(b[c])]);
    let both = 0, square = 0;
    const each = (visit) => COLOURS.forEach((c) => {
      for (let i = 0; i < n; i++) visit(a[c][i] - middles[c][0], b[c][i] - middles[c][1], i, c);
    });
    each((da, db, i) => { both += weight[i] * da * db; square += weight[i] * db * db; });
    gain = Math.min(Math.max((both + TINY * total) / (square + TINY * total), LIMITS[0]), LIMITS[1]);
    rest.fill(0);
    [after, before, own] = [0, 0, 0];
    each((da, db, i, c) => {
      const left = (da - gain * db) ** 2;
      rest[i] += left;
      after += weight[i] * left;
      before += weight[i] * (a[c][i] - b[c][i]) ** 2;
      own += weight[i] * da * da;
    });
    const scale = Math.max(4 * rest.toSorted()[(n - 1) >> 1], TINY);
    rest.forEach((left, i) => { weight[i] = 1 / (1 + left / scale); });
  }
  return { gain, explained: after <= LEFT * before && after <= LEFT * own + TINY };
}
