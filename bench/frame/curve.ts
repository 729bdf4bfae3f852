/** How a cost grows: one drawing, made as text, for docs. */

export interface Series {
  readonly name: string;
  /** By size: what it cost there. */
  readonly points: readonly (readonly [size: number, cost: number])[];
}

export interface Curve {
  /** `image-size`: the file is named by it. */
  readonly name: string;
  readonly title: string;
  readonly across: string;
  readonly up: string;
  readonly series: readonly Series[];
}

const [WIDTH, HEIGHT] = [560, 320];
const FRAME = { left: 64, right: 120, top: 34, bottom: 46 };
/** They differ in lightness, too, so that they can be told apart without colours; good on white and on dark. */
const COLOURS = ['#2f6fdf', '#d97a1e', '#3a9a5b', '#a05bc4'];

/** Both axes by powers of ten: what grows in proportion is a line of slope one, and what does not grow is level. */
export function curveSvg({ title, across, up, series }: Curve): string {
  const points = series.flatMap(({ points }) => points);
  const x = axis(
    points.map(([size]) => size),
    FRAME.left,
    WIDTH - FRAME.right,
  );
  const y = axis(
    points.map(([, cost]) => cost),
    HEIGHT - FRAME.bottom,
    FRAME.top,
  );
  const [left, right] = [FRAME.left, WIDTH - FRAME.right];
  const [top, bottom] = [FRAME.top, HEIGHT - FRAME.bottom];
  const lines = series.flatMap(({ name, points }, at) => {
    const colour = COLOURS[at % COLOURS.length] ?? '';
    const placed = points.map(([size, cost]) => [x.at(size), y.at(cost)] as const);
    const [lastX = 0, lastY = 0] = placed.at(-1) ?? [];
    return [
      `<polyline fill="none" stroke="${colour}" stroke-width="2" points="${placed.map(([a, b]) => `${round(a)},${round(b)}`).join(' ')}"/>`,
      ...placed.map(([a, b]) => `<circle cx="${round(a)}" cy="${round(b)}" r="3" fill="${colour}"/>`),
      `<text x="${round(lastX + 8)}" y="${round(lastY + 4)}" fill="${colour}">${escaped(name)}</text>`,
    ];
  });
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT}" role="img" aria-label="${escaped(title)}" font-family="sans-serif" font-size="11">
<rect width="${WIDTH}" height="${HEIGHT}" fill="#fff"/>
<text x="${left}" y="18" font-size="13" fill="#222">${escaped(title)}</text>
<g stroke="#ddd">${[
    ...x.ticks.map((tick) => `<path d="M${round(x.at(tick))} ${top}V${bottom}"/>`),
    ...y.ticks.map((tick) => `<path d="M${left} ${round(y.at(tick))}H${right}"/>`),
  ].join('')}</g>
<g fill="#555" text-anchor="middle">${x.ticks.map((tick) => `<text x="${round(x.at(tick))}" y="${bottom + 15}">${short(tick)}</text>`).join('')}<text x="${(left + right) / 2}" y="${HEIGHT - 10}">${escaped(across)}</text></g>
<g fill="#555" text-anchor="end">${y.ticks.map((tick) => `<text x="${left - 6}" y="${round(y.at(tick) + 4)}">${short(tick)}</text>`).join('')}</g>
<text transform="translate(14 ${(top + bottom) / 2}) rotate(-90)" text-anchor="middle" fill="#555">${escaped(up)}</text>
${lines.join('\n')}
</svg>
`;
}

interface Axis {
  readonly ticks: readonly number[];
  at(value: number): number;
}

/** A decade at least, from the power of ten below the least value to the one above the most. */
function axis(values: readonly number[], from: number, to: number): Axis {
  const low = Math.floor(Math.log10(Math.min(...values)) + 1e-9);
  const high = Math.max(low + 1, Math.ceil(Math.log10(Math.max(...values)) - 1e-9));
  return {
    ticks: Array.from({ length: high - low + 1 }, (_, at) => 10 ** (low + at)),
    at: (value) => from + ((Math.log10(value) - low) / (high - low)) * (to - from),
  };
}

function round(value: number): number {
  return Math.round(value * 10) / 10;
}

function short(value: number): string {
  if (value >= 1e6) return `${value / 1e6} M`;
  if (value >= 1e3) return `${value / 1e3} k`;
  return Number(value.toPrecision(3)).toString();
}

function escaped(text: string): string {
  return text.replace(/[<>&"]/g, (it) => `&#${it.charCodeAt(0)};`);
}
