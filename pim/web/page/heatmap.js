// A map as a picture, alone and over the gray of what was compared: pim/images/heatmap.

import { linear as between } from "./picture.js";

const LONGEST = 1400; // pixels of the drawn map
const VEIL = 0.2; // share of the colour where an overlaid map is lowest

/** Draw a map: {pictures: [alone, over the view], highest}, the value of the brightest colour. */
export function drawn(map, view, colours) {
  const highest = Math.max(map.data.reduce((most, value) => Math.max(most, value), 0), Number.EPSILON);
  const scale = Math.min(1, LONGEST / Math.max(view.width, view.height));
  const width = Math.max(1, Math.round(view.width * scale)), height = Math.max(1, Math.round(view.height * scale));
  const alone = new ImageData(width, height), over = new ImageData(width, height);
  const row = new Float32Array(3 * view.width);
  const shade = new Float64Array(3);
  for (let y = 0, k = 0; y < height; y++) {
    view.fill(0, Math.min(Math.floor((y + 0.5) / scale), view.height - 1), view.width, 1, row);
    for (let x = 0; x < width; x++, k += 4) {
      const level = between(map, (x + 0.5) / width * map.width - 0.5, (y + 0.5) / height * map.height - 0.5) / highest;
      const from = Math.min(Math.floor((x + 0.5) / scale), view.width - 1);
      const gray = 255 * (0.299 * row[from] + 0.587 * row[from + view.width] + 0.114 * row[from + 2 * view.width]);
      const share = VEIL + (1 - VEIL) * Math.sqrt(level);
      colour(level, colours, shade);
      for (let c = 0; c < 3; c++) {
        alone.data[k + c] = shade[c];
        over.data[k + c] = share * shade[c] + (1 - share) * gray;
      }
      alone.data[k + 3] = over.data[k + 3] = 255;
    }
  }
  return { pictures: [alone, over].map(bitmap), highest };
}

function bitmap(image) {
  const canvas = new OffscreenCanvas(image.width, image.height);
  canvas.getContext("2d").putImageData(image, 0, 0);
  return canvas.transferToImageBitmap();
}

/** The colour of a level in [0, 1] between evenly spaced stops. */
function colour(level, stops, to) {
  const at = Math.min(Math.max(level, 0), 1) * (stops.length - 1), first = Math.min(Math.floor(at), stops.length - 2);
  for (let c = 0; c < 3; c++) to[c] = stops[first][c] + (at - first) * (stops[first + 1][c] - stops[first][c]);
}
