import {
  BackwardBits,
  bad,
  decodeHuffman,
  type FseTable,
  fseTable,
  type HuffmanTable,
  readFseTable,
  readHuffmanTable,
  rleTable,
} from './zstd-entropy.ts';

/** Compressed blocks of Zstandard: RFC 8878 §3.1.1.3. */

/** A frame's most recent output, at least a window of it, and what one block leaves to the next. */
export interface BlockState {
  /** Output, oldest byte first. */
  history: Uint8Array;
  /** Bytes of `history` in use. */
  end: number;
  huffman: HuffmanTable | undefined;
  /** Literal lengths, offsets, match lengths. */
  tables: [FseTable | undefined, FseTable | undefined, FseTable | undefined];
  /** The last three offsets. */
  offsets: [number, number, number];
}

interface Code {
  readonly maxLog: number;
  readonly maxSymbol: number;
  readonly standard: FseTable;
}

// RFC 8878 §3.1.1.3.2.2
const LITERAL_LENGTHS: Code = {
  maxLog: 9,
  maxSymbol: 35,
  standard: fseTable(
    [
      4, 3, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 1, 1, 1, 2, 2, 2, 2, 2, 2, 2, 2, 2, 3, 2, 1, 1, 1, 1, 1, -1, -1,
      -1, -1,
    ],
    6,
  ),
};
const OFFSETS: Code = {
  maxLog: 8,
  // A code is the offset's number of bits. RFC 8878 leaves the limit open; 27 is the window we take.
  maxSymbol: 27,
  standard: fseTable(
    [1, 1, 1, 1, 1, 1, 2, 2, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, -1, -1, -1, -1, -1],
    5,
  ),
};
const MATCH_LENGTHS: Code = {
  maxLog: 9,
  maxSymbol: 52,
  standard: fseTable(
    [
      1, 4, 3, 2, 2, 2, 2, 2, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
      1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, -1, -1, -1, -1, -1, -1, -1,
    ],
    6,
  ),
};

/** Extra bits a code, and the value they are added to (RFC 8878 tables 16 and 17). */
function baselines(extra: readonly number[], first: number): { bits: Uint8Array; bases: Uint32Array } {
  const bases = new Uint32Array(extra.length);
  let base = first;
  for (const [code, bits] of extra.entries()) {
    bases[code] = base;
    base += 2 ** bits;
  }
  return { bits: Uint8Array.from(extra), bases };
}

const zeros = (count: number): number[] => Array<number>(count).fill(0);
const LITERAL_VALUES = baselines(
  [...zeros(16), 1, 1, 1, 1, 2, 2, 3, 3, 4, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16],
  0,
);
const MATCH_VALUES = baselines(
  [...zeros(32), 1, 1, 1, 1, 2, 2, 3, 3, 4, 4, 5, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16],
  3,
);

/** RFC 8878 §3.1.1.3.1: the literals, and how many bytes they took. */
function readLiterals(
  bytes: Uint8Array,
  state: BlockState,
  maxSize: number,
): { literals: Uint8Array; length: number } {
  const [a = 0, b = 0, c = 0, d = 0, e = 0] = bytes;
  const type = a & 3;
  const format = (a >> 2) & 3;
  let header: number;
  let size: number;
  let packed = 0;
  if (type < 2) {
    header = [1, 2, 1, 3][format] ?? 0;
    size = header === 1 ? a >> 3 : header === 2 ? (a >> 4) | (b << 4) : (a >> 4) | (b << 4) | (c << 12);
  } else {
    header = [3, 3, 4, 5][format] ?? 0;
    const width = [10, 10, 14, 18][format] ?? 0;
    const whole = a / 16 + b * 16 + c * 4096 + d * 2 ** 20 + e * 2 ** 28;
    size = Math.floor(whole) % 2 ** width;
    packed = Math.floor(whole / 2 ** width) % 2 ** width;
  }
  if (header > bytes.length || size > maxSize) throw bad('literals out of bounds');
  if (type === 0) {
    if (header + size > bytes.length) throw bad('literals out of bounds');
    return { literals: bytes.subarray(header, header + size), length: header + size };
  }
  const literals = new Uint8Array(size);
  if (type === 1) {
    const octet = bytes[header];
    if (octet === undefined) throw bad('literals out of bounds');
    return { literals: literals.fill(octet), length: header + 1 };
  }
  const length = header + packed;
  if (length > bytes.length) throw bad('literals out of bounds');
  let body = bytes.subarray(header, length);
  if (type === 2) {
    const { table, length: used } = readHuffmanTable(body);
    state.huffman = table;
    body = body.subarray(used);
  }
  if (state.huffman === undefined) throw bad('no Huffman table to repeat');
  if (format === 0) decodeHuffman(body, state.huffman, literals);
  else decodeFour(body, state.huffman, literals);
  return { literals, length };
}

/** Four streams behind a table of the first three's sizes. */
function decodeFour(body: Uint8Array, table: HuffmanTable, literals: Uint8Array): void {
  if (body.length < 6 || literals.length < 6) throw bad('literals too short for four streams');
  const share = (literals.length + 3) >> 2;
  let at = 6;
  for (let i = 0; i < 4; i++) {
    const size = i < 3 ? (body[i * 2] ?? 0) | ((body[i * 2 + 1] ?? 0) << 8) : body.length - at;
    if (at + size > body.length) throw bad('literal streams out of bounds');
    const out = literals.subarray(i * share, i < 3 ? (i + 1) * share : literals.length);
    decodeHuffman(body.subarray(at, at + size), table, out);
    at += size;
  }
}

/**
 * Decodes one compressed block onto the end of `state.history`, which must have room for `maxSize` more
 * bytes. Throws `Malformed`; then the frame is lost.
 */
export function decodeBlock(block: Uint8Array, state: BlockState, maxSize: number, window: number): void {
  const { literals, length } = readLiterals(block, state, maxSize);
  let at = length;
  const octet = (): number => {
    const value = block[at++];
    if (value === undefined) throw bad('block ends early');
    return value;
  };
  let count = octet();
  if (count >= 255) count = octet() + octet() * 256 + 0x7f00;
  else if (count >= 128) count = (count - 128) * 256 + octet();
  if (count === 0) {
    if (at !== block.length) throw bad('bytes after the literals');
    state.history.set(literals, state.end);
    state.end += literals.length;
    return;
  }

  const modes = octet();
  if (modes & 3) throw bad('reserved bits set');
  const tables = [LITERAL_LENGTHS, OFFSETS, MATCH_LENGTHS].map((code, index) => {
    const mode = (modes >> (6 - index * 2)) & 3;
    let table: FseTable | undefined;
    if (mode === 0) table = code.standard;
    else if (mode === 1) {
      const symbol = octet();
      if (symbol > code.maxSymbol) throw bad('code out of range');
      table = rleTable(symbol);
    } else if (mode === 2) {
      const read = readFseTable(block.subarray(at), code.maxLog, code.maxSymbol);
      table = read.table;
      at += read.length;
    } else table = state.tables[index];
    if (table === undefined) throw bad('no table to repeat');
    state.tables[index] = table;
    return table;
  });
  const [lengths, offsets, matches] = tables;
  if (lengths === undefined || offsets === undefined || matches === undefined) throw bad('no tables');
  runSequences(new BackwardBits(block.subarray(at)), count, literals, state, {
    lengths,
    offsets,
    matches,
    maxSize,
    window,
  });
}

interface SequenceRules {
  readonly lengths: FseTable;
  readonly offsets: FseTable;
  readonly matches: FseTable;
  readonly maxSize: number;
  readonly window: number;
}

function runSequences(
  bits: BackwardBits,
  count: number,
  literals: Uint8Array,
  state: BlockState,
  { lengths, offsets, matches, maxSize, window }: SequenceRules,
): void {
  const { history } = state;
  const limit = state.end + maxSize;
  let out = state.end;
  let used = 0;
  let lengthState = bits.read(lengths.log);
  let offsetState = bits.read(offsets.log);
  let matchState = bits.read(matches.log);
  for (let i = 0; i < count; i++) {
    const offsetCode = offsets.symbols[offsetState] ?? 0;
    const matchCode = matches.symbols[matchState] ?? 0;
    const lengthCode = lengths.symbols[lengthState] ?? 0;
    if (offsetCode > OFFSETS.maxSymbol) throw bad('offset beyond the window');
    const offsetValue = 2 ** offsetCode + bits.read(offsetCode);
    const matchLength = (MATCH_VALUES.bases[matchCode] ?? 0) + bits.read(MATCH_VALUES.bits[matchCode] ?? 0);
    const length = (LITERAL_VALUES.bases[lengthCode] ?? 0) + bits.read(LITERAL_VALUES.bits[lengthCode] ?? 0);
    if (i < count - 1) {
      lengthState = (lengths.bases[lengthState] ?? 0) + bits.read(lengths.bits[lengthState] ?? 0);
      matchState = (matches.bases[matchState] ?? 0) + bits.read(matches.bits[matchState] ?? 0);
      offsetState = (offsets.bases[offsetState] ?? 0) + bits.read(offsets.bits[offsetState] ?? 0);
    }
    const offset = takeOffset(state.offsets, offsetValue, length);
    if (used + length > literals.length) throw bad('more literals used than there are');
    if (out + length + matchLength > limit) throw bad('block larger than allowed');
    history.set(literals.subarray(used, used + length), out);
    used += length;
    out += length;
    // Without this a frame could show its reader what an earlier one left in memory.
    if (offset > out || offset > window) throw bad('match before the beginning');
    if (offset >= matchLength) history.copyWithin(out, out - offset, out - offset + matchLength);
    else for (let to = out; to < out + matchLength; to++) history[to] = history[to - offset] ?? 0;
    out += matchLength;
  }
  if (bits.left !== 0) throw bad('sequences not used up');
  const rest = literals.subarray(used);
  if (out + rest.length > limit) throw bad('block larger than allowed');
  history.set(rest, out);
  state.end = out + rest.length;
}

/** RFC 8878 §3.1.1.5: values one to three name a recent offset, one further along after no literals. */
function takeOffset(recent: [number, number, number], value: number, literalLength: number): number {
  const [first, second, third] = recent;
  if (value > 3) {
    recent[2] = second;
    recent[1] = first;
    recent[0] = value - 3;
    return value - 3;
  }
  const index = value - 1 + (literalLength === 0 ? 1 : 0);
  if (index === 0) return first;
  const offset = index === 1 ? second : index === 2 ? third : first - 1;
  if (offset === 0) throw bad('offset of zero');
  if (index > 1) recent[2] = second;
  recent[1] = first;
  recent[0] = offset;
  return offset;
}
