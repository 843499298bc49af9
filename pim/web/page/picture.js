// Pictures: opening files as sRGB, and views of them as planes of R, G and B in [0, 1].

export class Refused extends Error {} // its message is for the person at the page

const MOST = 60e6; // pixels
const STRIP = 512; // rows that pass through a canvas at once: some browsers limit its size

/** Open an image file: {width, height, channels, step, data}, data being bytes R, G, B, A. */
export async function open(file) {
  let bitmap;
  try {
    bitmap = await createImageBitmap(file, { premultiplyAlpha: "none" });
  } catch {
    throw new Refused(`${file.name} cannot be read as a picture by this browser. PNG, JPEG and WebP work everywhere.`);
  }
  const { width, height } = bitmap;
  if (width * height > MOST) {
    const size = `${Math.round(width * height / 1e6)} megapixels`;
    throw new Refused(`${file.name} has ${size}; this page takes ${MOST / 1e6}. Use pim score.`);
  }
  const data = new Uint8ClampedArray(4 * width * height);
  for (let top = 0; top < height; top += STRIP) {
    const rows = Math.min(STRIP, height - top);
    const canvas = new OffscreenCanvas(width, rows).getContext("2d", { colorSpace: "srgb", willReadFrequently: true });
    canvas.drawImage(bitmap, 0, -top);
    data.set(canvas.getImageData(0, 0, width, rows).data, 4 * width * top);
  }
  bitmap.close();
  for (let i = 3; i < data.length; i += 4) {
    if (data[i] < 255) {
      const why = "has transparent pixels, whose look depends on what is behind them";
      throw new Refused(`${file.name} ${why}. Save it without, or use pim score --background white.`);
    }
  }
  return { width, height, channels: 3, step: 4, data };
}

/** Whether what is drawn on a canvas is read back unchanged: some browsers add noise against tracking. */
export function canvasIsHonest() {
  const canvas = new OffscreenCanvas(64, 64).getContext("2d", { willReadFrequently: true });
  const drawn = canvas.createImageData(64, 64);
  drawn.data.forEach((_, i) => { drawn.data[i] = i % 4 === 3 ? 255 : (i * 7919) >> 3; });
  canvas.putImageData(drawn, 0, 0);
  return canvas.getImageData(0, 0, 64, 64).data.every((value, i) => value === drawn.data[i]);
}

/** The luma of a picture, {width, height, channels, step, data}, in [0, 1]. */
export function gray({ width, height, data }) {
  const luma = new Float32Array(width * height);
  for (let i = 0, k = 0; i < luma.length; i++, k += 4) {
    luma[i] = (0.299 * data[k] + 0.587 * data[k + 1] + 0.114 * data[k + 2]) / 255;
  }
  return { width, height, channels: 1, step: 1, data: luma };
}

/** A view is {width, height, fill(left, top, width, height, to)}: three planes of that part are written to an array. */
export function cut(picture, left = 0, top = 0, width = picture.width, height = picture.height) {
  const fill = (x, y, w, h, to) => {
    for (let row = 0; row < h; row++) {
      let from = 4 * ((top + y + row) * picture.width + left + x);
      for (let i = row * w; i < (row + 1) * w; i++, from += 4) {
        for (let c = 0; c < 3; c++) to[i + c * w * h] = picture.data[from + c] / 255;
      }
    }
  };
  return { width, height, fill };
}

/** What a picture shows at the places to which `at(x, y)` takes each pixel, by a cubic kernel, cut to [0, 1]. */
export function moved(picture, at, left, top, width, height) {
  const values = new Float64Array(3);
  const fill = (x, y, w, h, to) => {
    for (let row = 0, i = 0; row < h; row++) {
      for (let column = 0; column < w; column++, i++) {
        cubic(picture, ...at(left + x + column, top + y + row), values);
        for (let c = 0; c < 3; c++) to[i + c * w * h] = Math.min(Math.max(values[c] / 255, 0), 1);
      }
    }
  };
  return { width, height, fill };
}

/** The values of an image between its pixels, by a cubic kernel (a = -.75); beyond its border it is continued by it. */
export function cubic({ data, width, height, channels, step }, x, y, to) {
  const left = Math.floor(x), top = Math.floor(y);
  kernel(x - left, across);
  kernel(y - top, down);
  to.fill(0);
  for (let j = 0; j < 4; j++) {
    const row = Math.min(Math.max(top + j - 1, 0), height - 1) * width;
    for (let i = 0; i < 4; i++) {
      const from = step * (row + Math.min(Math.max(left + i - 1, 0), width - 1)), weight = down[j] * across[i];
      for (let c = 0; c < channels; c++) to[c] += weight * data[from + c];
    }
  }
}

const across = new Float64Array(4), down = new Float64Array(4);

function kernel(t, to) {
  const a = -0.75;
  const near = (d) => ((a + 2) * d - (a + 3)) * d * d + 1, far = (d) => ((a * d - 5 * a) * d + 8 * a) * d - 4 * a;
  to[0] = far(t + 1);
  to[1] = near(t);
  to[2] = near(1 - t);
  to[3] = far(2 - t);
}

/** The value of an image of one channel between its pixels, linear; beyond its border it is continued by it. */
export function linear({ data, width, height }, x, y) {
  x = Math.min(Math.max(x, 0), width - 1);
  y = Math.min(Math.max(y, 0), height - 1);
  const left = Math.floor(x), top = Math.floor(y), at = top * width + left;
  const across = left < width - 1 ? 1 : 0, down = top < height - 1 ? width : 0;
  const upper = data[at] + (x - left) * (data[at + across] - data[at]);
  const lower = data[at + down] + (x - left) * (data[at + down + across] - data[at + down]);
  return upper + (y - top) * (lower - upper);
}
