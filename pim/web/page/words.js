// What a distance and a change mean, in the words of `pim score`.

const STEP = 5, JPEG = "JPEG quality {}", OTHER = "another photograph";

/** Where a value lies among those of known changes of photographs: `Ruler.place` of pim/metrics/ruler. */
export function place(value, marks) {
  const jpeg = marks.filter(([change]) => change === JPEG).sort((one, other) => other[1] - one[1]);
  const closest = jpeg[0], furthest = jpeg.at(-1);
  if (value < closest[2]) return `closer than JPEG quality ${closest[1]}`;
  if (value > furthest[2]) {
    const other = marks.find(([change]) => change === OTHER);
    return value >= other[3] ? `as far as ${OTHER}` : `further than JPEG quality ${furthest[1]}`;
  }
  const [about, low, high] = [2, 3, 4].map((column) => quality(jpeg.map((mark) => [mark[1], mark[column]]), value));
  const range = [Math.min(low, high, about), Math.max(low, high, about)];
  return `about JPEG quality ${about} (${range[0]} to ${range[1]} by photograph)`;
}

/** The quality at which a curve of [quality, value], from close to far, reaches a value. */
function quality(curve, value) {
  let found = value > curve[0][1] ? curve.at(-1)[0] : curve[0][0];
  for (let i = 0; i + 1 < curve.length; i++) {
    const [better, first] = curve[i], [worse, second] = curve[i + 1];
    if (first <= value && value <= second && first !== second) {
      found = better + (worse - better) * (value - first) / (second - first);
      break;
    }
  }
  return STEP * even(found / STEP);
}

/** Rounded, halves to the even number, as Python does. */
function even(number) {
  const low = Math.floor(number);
  return number - low === 0.5 ? low + low % 2 : Math.round(number);
}

/** What was taken back, in words: `describe` of pim/pim/registration. */
export function describe({ displacement, tone }) {
  return [displacement && describePlace(displacement), tone && describeTone(tone)].filter(Boolean).join("; ");
}

function describePlace(found) {
  const rounded = (number) => Number(number.toFixed(1));
  const [right, down, turn, zoom] = [found.x, found.y, found.turn, found.zoom].map(rounded);
  const ways = [[right, right > 0 ? "right" : "left"], [down, down > 0 ? "down" : "up"]].filter(([length]) => length);
  const shift = ways.map(([length, way]) => `${Math.abs(length).toFixed(1)} px ${way}`).join(" and ");
  const parts = [
    shift && `shifted by ${shift}`,
    turn && `turned by ${Math.abs(turn).toFixed(1)} degrees ${turn > 0 ? "" : "counter"}clockwise`,
    zoom && `${Math.abs(zoom).toFixed(1)} % ${zoom > 0 ? "larger" : "smaller"}`,
  ].filter(Boolean);
  return parts.join("; ") || `displaced by ${found.pixels.toFixed(2)} px in the mean`;
}

function describeTone({ contrast, brightness: [red, green, blue] }) {
  const percent = Math.round(100 * (contrast - 1));
  const parts = [
    percent && `contrast ${Math.abs(percent)} % ${percent > 0 ? "higher" : "lower"}`,
    amount(0.299 * red + 0.587 * green + 0.114 * blue, "brighter", "darker"),
    amount(red - blue, "warmer", "cooler"),
    amount(green - (red + blue) / 2, "greener", "more magenta"),
  ].filter(Boolean);
  return parts.join("; ") || "a trace of another tone";
}

function amount(change, more, less) {
  const size = Math.abs(change);
  if (size < 0.01) return "";
  return (size < 0.05 ? "a little " : size > 0.15 ? "much " : "") + (change > 0 ? more : less);
}
