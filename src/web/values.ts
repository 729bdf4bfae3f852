import { type Html, html } from './html.ts';

/** Times, lengths of time, sizes and digests, as people read them. */

const SECOND = 1000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

/** A moment, in UTC; the script adds the reader's own time. @param time milliseconds since 1970. */
export function moment(time: number): Html {
  const iso = new Date(time).toISOString();
  return html`<time datetime="${iso}">${iso.slice(0, 10)} ${iso.slice(11, 19)} UTC</time>`;
}

/** A moment of the last day or so: the hour alone is enough. */
export function clockTime(time: number): Html {
  const iso = new Date(time).toISOString();
  return html`<time datetime="${iso}">${iso.slice(11, 19)} UTC</time>`;
}

export function dayOf(time: number): Html {
  const iso = new Date(time).toISOString();
  return html`<time datetime="${iso}">${iso.slice(0, 10)}</time>`;
}

/** Since when something is so: the script turns it into how long, and counts on. */
export function sinceThen(time: number): Html {
  const iso = new Date(time).toISOString();
  return html`<time datetime="${iso}" data-since>since ${iso.slice(11, 19)} UTC</time>`;
}

/** Milliseconds: `40 ms`, `0.4 s`, `12 s`, `3 min 20 s`, `2 h 5 min`, `3 d 4 h`. */
export function span(ms: number): string {
  const positive = Math.max(0, ms);
  if (positive < SECOND / 10) return `${Math.round(positive)} ms`;
  if (positive < 10 * SECOND) return `${(positive / SECOND).toFixed(1)} s`;
  if (positive < MINUTE) return `${Math.floor(positive / SECOND)} s`;
  const [big, small, names] =
    positive < HOUR
      ? [MINUTE, SECOND, ['min', 's']]
      : positive < DAY
        ? [HOUR, MINUTE, ['h', 'min']]
        : [DAY, HOUR, ['d', 'h']];
  const rest = Math.floor((positive % big) / small);
  return `${Math.floor(positive / big)} ${names[0]}${rest === 0 ? '' : ` ${rest} ${names[1]}`}`;
}

/** `8.2 MB`; powers of ten. */
export function bytesText(bytes: number): string {
  if (bytes < 1000) return `${bytes} B`;
  const units = ['kB', 'MB', 'GB', 'TB', 'PB'];
  let value = bytes;
  let unit = -1;
  while (value >= 999.5 && unit < units.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return `${value < 10 ? value.toFixed(1) : Math.round(value)} ${units[unit]}`;
}

/** 1 machine, 2 machines. */
export function counted(count: number, one: string, many = `${one}s`): string {
  return `${count.toLocaleString('en')} ${count === 1 ? one : many}`;
}

/** The beginning of a digest, all of it where somebody points at it. */
export function digest(hex: string): Html {
  return html`<code title="${hex}">${hex.slice(0, 16)}…</code>`;
}

/**
 * A part of a whole in per cent, downwards: 100 is said where it is all of them.
 *
 * @returns undefined of nothing.
 */
export function shareOf(part: number, whole: number): number | undefined {
  return whole === 0 ? undefined : Math.floor((part * 100) / whole);
}

/** A path of several names, for an address. */
export function pathText(...names: readonly string[]): string {
  return names.flatMap((name) => name.split('/').map(encodeURIComponent)).join('/');
}

/** A card's address as it stands in paths. */
export function macInPath(mac: string): string {
  return mac.replaceAll(':', '-');
}
