// Correlation over all shifts, through the fast Fourier transform.

/** Highest correlation of two images over shifts by at most half a side: {peak, x, y}, in pixels.
 * What the first shows at p, the second shows at p + (x, y); values count more where fewer pixels overlap. */
export function correlate(first, second) {
  const { width, height } = first;
  const size = { width: power(1.5 * width), height: power(1.5 * height) };
  const a = spectrum(first, size), b = spectrum(second, size);
  const product = a.map((part) => new Float64Array(part.length));
  for (let i = 0; i < a[0].length; i++) { // conj(a) b, conjugated: the forward transform then is the inverse one
    product[0][i] = a[0][i] * b[0][i] + a[1][i] * b[1][i];
    product[1][i] = -(a[0][i] * b[1][i] - a[1][i] * b[0][i]);
  }
  transform(product, size);
  const strength = Math.sqrt(Math.max(energy(first) * energy(second), 1e-12)) * size.width * size.height;
  let best = { peak: -Infinity, x: 0, y: 0 };
  for (let y = -(height >> 1); y <= height >> 1; y++) {
    for (let x = -(width >> 1); x <= width >> 1; x++) {
      const share = (1 - Math.abs(y) / height) * (1 - Math.abs(x) / width);
      if (share < 0.5) continue;
      const at = ((y + size.height) % size.height) * size.width + (x + size.width) % size.width;
      const peak = product[0][at] / Math.sqrt(share) / strength;
      if (peak > best.peak) best = { peak, x, y };
    }
  }
  return best;
}

function power(least) {
  let size = 1;
  while (size < least) size *= 2;
  return size;
}

function energy({ data }) {
  return data.reduce((sum, value) => sum + value * value, 0);
}

function spectrum({ width, height, data }, size) {
  const parts = [new Float64Array(size.width * size.height), new Float64Array(size.width * size.height)];
  for (let y = 0; y < height; y++) parts[0].set(data.subarray(y * width, (y + 1) * width), y * size.width);
  transform(parts, size);
  return parts;
}

/** Transform rows, then columns, in place. */
function transform(parts, { width, height }) {
  for (let y = 0; y < height; y++) line(parts, y * width, 1, width);
  for (let x = 0; x < width; x++) line(parts, x, width, height);
}

/** Transform n = 2^k values that lie `pitch` apart, in place (Cooley and Tukey 1965). */
function line([real, imaginary], first, pitch, n) {
  const at = (i) => first + i * pitch;
  for (let i = 1, j = 0; i < n; i++) {
    let bit = n >> 1;
    for (; j & bit; bit >>= 1) j ^= bit;
    j ^= bit;
    if (i < j) {
      [real[at(i)], real[at(j)]] = [real[at(j)], real[at(i)]];
      [imaginary[at(i)], imaginary[at(j)]] = [imaginary[at(j)], imaginary[at(i)]];
    }
  }
  for (let half = 1; half < n; half *= 2) {
    for (let k = 0; k < half; k++) {
      const c = Math.cos(Math.PI * k / half), s = -Math.sin(Math.PI * k / half);
      for (let i = k; i < n; i += 2 * half) {
        const p = at(i), q = at(i + half), re = real[q] * c - imaginary[q] * s, im = real[q] * s + imaginary[q] * c;
        real[q] = real[p] - re;
        imaginary[q] = imaginary[p] - im;
        real[p] += re;
        imaginary[p] += im;
      }
    }
  }
}
