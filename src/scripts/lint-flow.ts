import type { IpxeScript, ScriptLine } from '../formats/script/ipxe-script.ts';
import { saysGaveUp } from './gave-up.ts';
import { imageNameOf, type ReadCommand, readCommand } from './lint-command.ts';
import { commandsText } from './lint-menu.ts';

/**
 * What can be true of iPXE at each line of a script, whichever way control came there.
 *
 * Every command is followed with both outcomes, success and failure, and every `goto` to its label. Where
 * ways meet, only what holds on all of them is kept: an image counts as verified when it is verified on every
 * way, and as present when it is present on any. So a jump into the middle, a loop, or a failure that is
 * swallowed cannot hide an unverified image from the `boot` it reaches.
 */

/**
 * `own-disk`: it may hand the machine to its own disk, but only where nothing was fetched before: no failure leads there.
 * `menu`: a person may choose among labels of its own. `firmware`: it may start `uki.efi` from an address, unverified by
 * iPXE, on the ways on which firmware was seen to enforce Secure Boot, with no other image there.
 */
export type LintPermit = 'own-disk' | 'menu' | 'firmware';

/** One image iPXE may hold. */
interface ImageState {
  readonly verified: boolean;
  /** False where some way leads here without it. */
  readonly certain: boolean;
  /** Line that fetched it. */
  readonly line: number;
}

interface State {
  /** The trust requirement is on, for good. */
  readonly trust: boolean;
  /** Firmware enforces Secure Boot: its own variable has said so. */
  readonly enforced: boolean;
  readonly images: ReadonlyMap<string, ImageState>;
  /** The image a bare `boot` executes; undefined where that is unsure. */
  readonly selected: string | undefined;
  /** Some way here asked for an image, or ran one: a failure can have led here. */
  readonly asked: boolean;
  /** The machine's own disk was named as what comes next. */
  readonly diskNext: boolean;
}

/** Told of every breach, with the line that commits it. */
export type Report = (
  rule: 'trust' | 'name' | 'chain' | 'unverified' | 'firmware' | 'disk' | 'end',
  line: number,
  message: string,
) => void;

interface Outcome {
  readonly state: State;
  readonly ok: boolean;
}

/** Stands among the images for those of a script that ran; no image has a blank in its name. */
const LEFT_BEHIND = 'what an executed script left behind';

/** Firmware's variable, in a block of settings that only a build for UEFI has, and where DHCP can put nothing. */
// biome-ignore lint/suspicious/noTemplateCurlyInString: a setting, spelled as iPXE spells it
const ENFORCES = 'iseq ${efi/SecureBoot:int8} 1';
/** A release's image for firmware, at an address. */
const IMAGE = /:\/\/.*\/uki\.efi$/;

const START: State = {
  trust: false,
  enforced: false,
  images: new Map(),
  selected: undefined,
  asked: false,
  diskNext: false,
};

/**
 * Reports every breach that some way through the script commits. Labels are expected to be unique. Ends,
 * since states only grow: trust and verification can only be lost, images only be added.
 *
 * @param permits where there are none, whatever leads to a disk was reported already.
 */
export function followScript(script: IpxeScript, permits: readonly LintPermit[], report: Report): void {
  const { lines } = script;
  const labels = new Map<string, number>();
  for (const [index, { label }] of lines.entries()) {
    if (label !== undefined && !labels.has(label)) labels.set(label, index);
  }
  const entry = new Map<number, State>();
  const queue: number[] = [];
  const reach = (index: number, state: State): void => {
    const before = entry.get(index);
    const after = before === undefined ? state : meet(before, state);
    if (before !== undefined && same(before, after)) return;
    entry.set(index, after);
    queue.push(index);
  };
  const silent: Report = () => undefined;
  const walk = (index: number, tell: Report, next: typeof reach): void => {
    const line = lines[index];
    const state = entry.get(index);
    if (line === undefined || state === undefined) return;
    const jump = (label: string, jumped: State): void => {
      const target = labels.get(label);
      if (target !== undefined) next(target, jumped);
    };
    for (const outcome of followLine(line, state, permits, tell, jump)) {
      // A line that fails ends the script.
      if (outcome.ok) next(index + 1, outcome.state);
    }
  };
  reach(0, START);
  for (let index = queue.pop(); index !== undefined; index = queue.pop()) walk(index, silent, reach);
  for (const index of lines.keys()) walk(index, report, () => undefined);
  if (entry.has(lines.length)) {
    report('end', lines.at(-1)?.number ?? 1, 'the script can end as if it had succeeded; end it with exit 1');
  }
}

function followLine(
  line: ScriptLine,
  start: State,
  permits: readonly LintPermit[],
  report: Report,
  jump: (label: string, state: State) => void,
): readonly Outcome[] {
  let outcomes: readonly Outcome[] = [{ state: start, ok: true }];
  for (const { after, words } of line.commands) {
    outcomes = outcomes.flatMap((outcome): readonly Outcome[] => {
      const runs = after === '||' ? !outcome.ok : after === '&&' ? outcome.ok : true;
      if (!runs) return [outcome];
      if (words.length === 0) return [{ state: outcome.state, ok: true }];
      if (words[0] === 'sanboot' && permits.includes('own-disk'))
        demandDisk(outcome.state, 'sanboot', line.number, report);
      const command = readCommand(words);
      // Unknown commands are reported elsewhere; here they can do nothing or fail.
      if (command === undefined) return both(outcome.state);
      if (command.does === 'goto') {
        jump(command.operands[0] ?? '', outcome.state);
        return [];
      }
      if (permits.includes('firmware') && words.join(' ') === ENFORCES)
        return [
          { state: { ...outcome.state, enforced: true }, ok: true },
          { state: outcome.state, ok: false },
        ];
      if (permits.includes('firmware') && command.does === 'execute' && IMAGE.test(command.operands[0] ?? ''))
        return executeImage(command, outcome.state, line.number, report);
      // That it could not demand signatures is said, too.
      if (command.does === 'fetch' && saysGaveUp(commandsText(line)))
        return fetchImage(command, { ...outcome.state, asked: true }, line.number, report, false);
      return followCommand(command, outcome.state, permits, line.number, report);
    });
    outcomes = merge(outcomes);
  }
  return outcomes;
}

/** At most one outcome of each kind, so that a long line costs no more than its length. */
function merge(outcomes: readonly Outcome[]): readonly Outcome[] {
  const [first, second, third] = outcomes;
  // What most commands come to: nothing meets.
  if (second === undefined || (first?.ok && !second.ok && third === undefined)) return outcomes;
  return [true, false].flatMap((ok) => {
    const states = outcomes.filter((outcome) => outcome.ok === ok).map(({ state }) => state);
    return states.length === 0 ? [] : [{ ok, state: states.reduce(meet) }];
  });
}

function followCommand(
  command: ReadCommand,
  state: State,
  permits: readonly LintPermit[],
  line: number,
  report: Report,
): readonly Outcome[] {
  switch (command.does) {
    case 'trust':
      return command.options.has('permanent') && !command.options.has('allow')
        ? [
            { state: { ...state, trust: true }, ok: true },
            { state, ok: false },
          ]
        : both(state);
    case 'free':
      return free(state, command.operands);
    case 'fetch':
    case 'select':
      return fetchImage(command, { ...state, asked: true }, line, report);
    case 'set':
      return both(
        command.operands.join(' ') === 'bootseal-next local' ? { ...state, diskNext: true } : state,
      );
    case 'verify':
      return verifyImage(command, state, line, report);
    case 'execute':
      return execute(command, state, line, report);
    case 'exit':
      if (permits.includes('own-disk') && Number(command.operands[0] ?? '0') === 0)
        demandDisk(state, 'exit 0', line, report);
      // One that iPXE cannot read fails, and the script goes on behind it.
      return exits(command) ? [] : [{ state, ok: false }];
    case 'restart':
      // Success does not come back; a loader built without it does.
      return [{ state, ok: false }];
    default:
      return both(state);
  }
}

/** Its own disk is where a machine goes by a script's word alone: never because something else was not to be had. */
function demandDisk({ trust, asked, diskNext }: State, what: string, line: number, report: Report): void {
  if (!trust) report('disk', line, `${what} comes before imgtrust --permanent has succeeded`);
  if (asked) report('disk', line, `${what} can be reached after something was fetched, or could not be`);
  if (!diskNext) report('disk', line, `${what} comes before the script has set bootseal-next to local`);
}

function exits({ operands }: ReadCommand): boolean {
  const [status = '0', ...more] = operands;
  return more.length === 0 && /^(0|[1-9][0-9]*)$/.test(status);
}

function both(state: State): readonly Outcome[] {
  return [
    { state, ok: true },
    { state, ok: false },
  ];
}

/** In their order: at the first name that is missing iPXE stops with a failure, and what comes after it stays. */
function free(state: State, names: readonly string[]): readonly Outcome[] {
  if (names.length === 0) return [{ state: { ...state, images: new Map(), selected: undefined }, ok: true }];
  const failures: Outcome[] = [];
  let rest = state;
  for (const name of names) {
    if (name.includes('$')) {
      // Any image could be meant, or none.
      failures.push({ state: rest, ok: false });
      rest = unsure(rest);
      continue;
    }
    const image = rest.images.get(name);
    const images = new Map(rest.images);
    images.delete(name);
    rest = { ...rest, images, selected: rest.selected === name ? undefined : rest.selected };
    if (image?.certain !== true) failures.push({ state: rest, ok: false });
    // A script that ran may have left one of that name.
    if (image === undefined && !rest.images.has(LEFT_BEHIND)) return failures;
  }
  return [...failures, { state: rest, ok: true }];
}

/** Every image may be gone by now. */
function unsure(state: State): State {
  const images = new Map([...state.images].map(([name, image]) => [name, { ...image, certain: false }]));
  return { ...state, images, selected: undefined };
}

function fetchImage(
  command: ReadCommand,
  state: State,
  line: number,
  report: Report,
  demandsTrust = true,
): readonly Outcome[] {
  const known = command.operands[0] ?? '';
  const selects = command.does === 'select';
  if (selects && state.images.get(known)?.certain) {
    if (command.options.has('name')) {
      report(
        'name',
        line,
        `${command.name} --name gives ${known} another name; only a fetched image takes one`,
      );
    }
    return [
      { state: { ...state, selected: known }, ok: true },
      { state, ok: false },
    ];
  }
  if (demandsTrust && !state.trust)
    report('trust', line, `${command.name} comes before imgtrust --permanent has succeeded`);
  const name = imageNameOf(command);
  if (name === undefined) {
    report('name', line, 'what this image will be called cannot be told from the script');
    return both(state);
  }
  if (selects && !known.includes('://')) {
    report('name', line, needNotBeThere(known));
  } else if (state.images.has(name)) {
    report('name', line, `an image called ${name} can be there already, and iPXE takes the first of a name`);
  }
  const held = (certain: boolean): ReadonlyMap<string, ImageState> =>
    new Map([...state.images, [name, { verified: false, certain, line }]]);
  return [
    {
      state: { ...state, images: held(true), selected: command.does === 'select' ? name : state.selected },
      ok: true,
    },
    // `kernel` keeps what it fetched even when it cannot be a kernel.
    { state: { ...state, images: held(false) }, ok: false },
  ];
}

function needNotBeThere(name: string): string {
  return `no image called ${name} need be there; iPXE would fetch one of that name from anywhere`;
}

function verifyImage(command: ReadCommand, state: State, line: number, report: Report): readonly Outcome[] {
  const [name = '', seal = ''] = command.operands;
  const image = state.images.get(name);
  if (image === undefined || !image.certain) {
    report('name', line, needNotBeThere(name));
  }
  if (image === undefined) return both(state);
  if (name === seal) report('name', line, 'an image cannot be its own seal');
  const sealImage = state.images.get(seal);
  if (sealImage?.certain !== true && !seal.includes('://')) {
    report('name', line, needNotBeThere(seal));
  }
  // The seal is freed once it was read, unless --keep leaves it for the kernel as an initrd.
  const images = new Map(state.images);
  if (!command.options.has('keep')) images.delete(seal);
  images.set(name, { ...image, verified: command.options.has('signer') });
  const failed = new Map(state.images);
  if (sealImage !== undefined) failed.set(seal, { ...sealImage, certain: false });
  return [
    { state: { ...state, images }, ok: true },
    { state: { ...state, images: failed }, ok: false },
  ];
}

/** An image that iPXE does not verify and firmware does, alone: whatever else is there would go with it. */
function executeImage(command: ReadCommand, state: State, line: number, report: Report): readonly Outcome[] {
  if (!state.enforced)
    report(
      'firmware',
      line,
      `${command.name} starts an image that only firmware could verify, and it may not`,
    );
  if (command.operands.length > 1)
    report('firmware', line, `${command.name} gives the image words that nobody signed`);
  if (command.options.has('name'))
    report('name', line, `${command.name} --name gives the image another name`);
  for (const [name, { line: fetched }] of state.images)
    report('unverified', fetched, `${name} can be there when line ${line} starts an image`);
  return both({ ...unsure(state), asked: true });
}

function execute(command: ReadCommand, state: State, line: number, report: Report): readonly Outcome[] {
  if (!state.trust) report('trust', line, `${command.name} comes before imgtrust --permanent has succeeded`);
  const target = command.operands[0] ?? state.selected;
  const image = target === undefined ? undefined : state.images.get(target);
  if (image === undefined || !image.certain) {
    report(
      'chain',
      line,
      target === undefined
        ? `${command.name} executes whatever was selected last, and nothing certainly was`
        : `${command.name} executes ${target}, which nothing here fetched and verified`,
    );
  }
  if (command.options.has('name'))
    report(
      'name',
      line,
      `${command.name} --name gives the image another name; only a fetched image takes one`,
    );
  for (const [name, { verified, line: fetched }] of state.images) {
    // iPXE hands every image it holds to the kernel.
    if (!verified)
      report('unverified', fetched, `${name} can reach ${command.name} in line ${line} unverified`);
  }
  // Success comes back too: a script that ended, or a boot with nothing selected. A script can have freed
  // images, and left others behind.
  const after = { ...unsure(state), asked: true };
  const left = after.images.get(LEFT_BEHIND) ?? { verified: false, certain: false, line };
  return both({ ...after, images: new Map([...after.images, [LEFT_BEHIND, left]]) });
}

function meet(a: State, b: State): State {
  const images = new Map<string, ImageState>();
  for (const name of new Set([...a.images.keys(), ...b.images.keys()])) {
    const [one, two] = [a.images.get(name), b.images.get(name)];
    if (one !== undefined && two !== undefined) {
      images.set(name, {
        verified: one.verified && two.verified,
        certain: one.certain && two.certain,
        // The earlier unverified one is the one to name.
        line: one.verified && !two.verified ? two.line : one.line,
      });
    } else {
      const only = one ?? two;
      if (only !== undefined) images.set(name, { ...only, certain: false });
    }
  }
  return {
    trust: a.trust && b.trust,
    enforced: a.enforced && b.enforced,
    images,
    selected: a.selected === b.selected ? a.selected : undefined,
    asked: a.asked || b.asked,
    diskNext: a.diskNext && b.diskNext,
  };
}

function same(a: State, b: State): boolean {
  const facts = ['trust', 'enforced', 'selected', 'asked', 'diskNext'] as const;
  if (facts.some((fact) => a[fact] !== b[fact]) || a.images.size !== b.images.size) return false;
  for (const [name, image] of a.images) {
    const other = b.images.get(name);
    if (other === undefined || other.verified !== image.verified || other.certain !== image.certain)
      return false;
  }
  return true;
}
