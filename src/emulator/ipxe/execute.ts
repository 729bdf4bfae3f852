import { Malformed } from '../../errors/malformed.ts';
import { Refusal } from '../../errors/refusal.ts';
import { type IpxeScript, parseIpxeScript } from '../../formats/script/ipxe-script.ts';
import { type Command, expandWord, type SettingName } from '../../formats/script/ipxe-tokens.ts';
import { EACCES, EACCES_UNTRUSTED, EINVAL, ENOENT, notExecutable, type Status } from './failure.ts';
import { Halt, stopped } from './halt.ts';
import { bootImage, bzImageCmdlineSize, type Image, isExecutable } from './images.ts';
import type { State } from './state.ts';
import { resolveUri } from './uri.ts';

/** Runs one command, its words expanded. */
export type RunCommand = (shell: Shell, argv: readonly string[]) => Promise<Status>;

const MAX_STEPS = 10_000;
/** Scripts within scripts. Each costs a real machine some of its small stack. */
const MAX_DEPTH = 32;

interface RunningScript {
  readonly image: Image;
  readonly script: IpxeScript;
  /** The line that comes next. */
  next: number;
}

/** Images and scripts being executed. Sources: iPXE `src/core/image.c`, `src/core/exec.c`, `src/image/script.c`. */
export class Shell {
  readonly state: State;
  private readonly run: RunCommand;
  private script: RunningScript | undefined;

  constructor(state: State, run: RunCommand) {
    this.state = state;
    this.run = run;
  }

  /** `image_exec`: executes a registered image, then whatever it named as its replacement. */
  async executeImage(image: Image): Promise<Status> {
    const { state } = this;
    const { images } = state;
    const oldUri = state.cwuri;
    const oldCurrent = images.current;
    if (image.uri !== undefined) state.cwuri = resolveUri(state.cwuri, image.uri);
    images.current = image;
    state.depth += 1;
    if (state.depth > MAX_DEPTH)
      throw stopped('scripts chain one another without end', { depth: state.depth });

    let replacement: Image | undefined;
    let status: Status;
    if (!isExecutable(image)) {
      status = notExecutable(image.name);
    } else if (images.requireTrust && !image.trusted) {
      status = {
        ...EACCES_UNTRUSTED,
        refusal: new Refusal('no-verdict', `iPXE may not execute ${image.name}: no imgverify accepted it`, {
          image: image.name,
        }),
      };
    } else {
      state.event({ kind: 'execute', name: image.name, type: image.type ?? '', trusted: image.trusted });
      state.event({ kind: 'log', text: `Executing "${image.name}"` });
      images.unregister(image);
      if (image.type === 'script' && image.uri !== undefined) {
        state.scripts.push(image.trusted);
        if (image.trusted) state.overcome = state.refusals.length;
      }
      status = image.type === 'script' ? await this.executeScript(image) : this.boot(image);
      state.event({
        kind: 'log',
        text: `Execution of "${image.name}" ${status === undefined ? 'completed' : `failed: ${status.text}`}`,
      });
      replacement = image.replacement;
      // A script that has run is an image like any other again: the kernel would get it as an initrd.
      if (replacement === undefined) images.register(image);
      image.replacement = undefined;
    }
    if (image.autofree) images.unregister(image);
    state.note(status);
    state.depth -= 1;
    images.current = oldCurrent;
    state.cwuri = oldUri;
    return replacement === undefined ? status : this.executeImage(replacement);
  }

  /** `goto`: the first label of that name in the running script. */
  goto(label: string): Status {
    const running = this.script;
    const line = running?.script.lines.findIndex((candidate) => candidate.label === label) ?? -1;
    if (running === undefined || line < 0) return ENOENT;
    running.next = line;
    this.state.stop = 1;
    return undefined;
  }

  private async executeScript(image: Image): Promise<Status> {
    const outer = this.script;
    try {
      // Scripts can chain one another, and each is read anew.
      this.state.budget.startLine(image.bytes.length);
      const running = { image, script: parseIpxeScript(image.bytes), next: 0 };
      this.script = running;
      return await this.lines(running);
    } catch (error) {
      if (!(error instanceof Malformed)) throw error;
      const refusal = new Refusal('malformed', `${image.name}: ${error.message}`, { script: image.name });
      return { ...EINVAL, refusal };
    } finally {
      this.script = outer;
    }
  }

  private async lines(running: RunningScript): Promise<Status> {
    for (;;) {
      const line = running.script.lines[running.next];
      if (line === undefined) return running.script.truncated ? EINVAL : undefined;
      running.next += 1;
      this.state.budget.startLine(line.raw.length);
      const status = await this.line(line.commands, running.image.name, line.number);
      if (this.state.stoppedAt(2) || status !== undefined) return status;
    }
  }

  private async line(commands: readonly Command[], script: string, line: number): Promise<Status> {
    let status: Status;
    for (const { after, words } of commands) {
      if (after === '||' && status === undefined) continue;
      if (after === '&&' && status !== undefined) continue;
      const argv = words.map((word) => this.expand(word));
      status = await this.command(argv, script, line);
      if (this.state.stoppedAt(1)) break;
    }
    return status;
  }

  /** `execv`: an empty command succeeds. */
  async command(argv: readonly string[], script: string, line: number): Promise<Status> {
    const name = argv[0];
    if (name === undefined) return undefined;
    const { state } = this;
    this.step();
    state.event({ kind: 'command', script, line, words: argv });
    const status = await this.run(this, argv);
    if (status !== undefined) {
      state.errno = status.errno;
      state.note(status);
      state.event({ kind: 'failed', script, line, command: name, text: status.text });
    }
    return status;
  }

  private step(): void {
    const { maxSteps = MAX_STEPS, signal } = this.state.options;
    signal?.throwIfAborted();
    this.state.steps += 1;
    if (this.state.steps > maxSteps) throw stopped('the script goes round in circles', { steps: maxSteps });
  }

  /** Expands the settings in one word. */
  expand(word: string): string {
    try {
      const { settings, budget } = this.state;
      const lookup = (name: SettingName): string | undefined => {
        const found = settings.fetch(name);
        budget.spend(found?.octets.length ?? 0);
        return found?.text;
      };
      return expandWord(word, lookup, budget.spend);
    } catch (error) {
      if (!(error instanceof Malformed)) throw error;
      throw stopped(error.message, { word: word.slice(0, 80) });
    }
  }

  /** Hands over to a kernel: there is no way back, unless firmware refuses it. */
  private boot(image: Image): Status {
    const { state } = this;
    const { platform, secureBoot } = state.options.machine;
    if (platform === 'efi' && secureBoot === true) {
      const refusal = this.refusedByFirmware(image);
      if (refusal) return { ...EACCES, refusal };
    }
    let cmdline = image.cmdline ?? '';
    if (platform === 'efi')
      cmdline = image.cmdline === undefined ? image.name : `${image.name} ${image.cmdline}`;
    if (image.type === 'bzImage') cmdline = cmdline.slice(0, bzImageCmdlineSize(image.bytes) - 1);
    throw new Halt({
      kind: 'boot',
      type: image.type ?? '',
      kernel: bootImage(image),
      initrds: state.images
        .all()
        .filter((other) => !other.hidden)
        .map(bootImage),
      cmdline,
    });
  }

  /** Every image for UEFI goes through the firmware, which asks its db, not iPXE's trust. */
  private refusedByFirmware({ name, bytes }: Image): Refusal | undefined {
    const { firmware } = this.state.options;
    if (!firmware)
      return new Refusal('untrusted-signer', `The firmware enforces Secure Boot, and takes no ${name}.`, {
        name,
      });
    try {
      firmware(name, bytes);
      return undefined;
    } catch (error) {
      if (error instanceof Refusal) return error;
      throw error;
    }
  }
}
