import { mkdir, rename } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import type { BootVerdict } from '../emulator/boot.ts';
import { explain } from '../files/atomic-file.ts';
import { isThere } from '../files/read-if-there.ts';
import type { Log } from '../serve/event-log.ts';
import { ListenError } from '../serve/listen.ts';
import { type Serving, serve } from '../server/serve.ts';
import { createKeyFolder } from '../signing/keys/init.ts';
import { boot } from './boot.ts';
import { SAMPLE_RELEASE, writeSample } from './sample.ts';
import { type SealResult, seal } from './seal.ts';

export interface DemoOptions {
  /** Where keys and the sample stay between runs. */
  readonly state: string;
  readonly bind?: string;
  readonly httpPort?: number;
  /** Milliseconds since 1970. */
  readonly now: number;
  readonly log: Log;
  readonly onStep?: (text: string) => void;
}

export interface Demo {
  readonly keys: string;
  readonly tree: string;
  readonly sealed: SealResult;
  readonly serving: Serving;
  readonly verdict: BootVerdict;
}

/** `$XDG_STATE_HOME/bootseal/demo`, by default below `~/.local/state`. */
export function demoStateFolder(): string {
  return join(process.env.XDG_STATE_HOME || join(homedir(), '.local', 'state'), 'bootseal', 'demo');
}

/** The whole line on a sample release: keys, seals, server, one emulated machine. The server keeps running. */
export async function demo(options: DemoOptions): Promise<Demo> {
  const { state, now } = options;
  const keys = join(state, 'keys');
  const tree = join(state, 'sample');
  const step = options.onStep ?? (() => {});
  await mkdir(state, { recursive: true, mode: 0o700 }).catch((error: unknown) => {
    throw explain(error, state);
  });
  if ((await isThere(keys)) && !(await isThere(join(keys, 'private', 'manifest.key')))) {
    const aside = `${keys}-earlier-${now}`;
    step(`Moving keys of an earlier Bootseal to ${aside}`);
    await rename(keys, aside).catch((error: unknown) => {
      throw explain(error, keys);
    });
  }
  if (!(await isThere(keys))) {
    step(`Making development keys in ${keys}`);
    await createKeyFolder(keys, { site: 'demo', kind: 'rsa', now });
  }
  // Written anew each time: the sample is ours, and its initramfs must hold the keys that are there now.
  step(`Writing a sample release to ${tree}`);
  await writeSample(tree, keys);
  step(`Sealing ${SAMPLE_RELEASE}`);
  const sealed = await seal({ tree, keys, now, issued: now });
  step('Verifying it, then serving it');
  const serving = await serveSomewhere(options, tree, join(keys, 'anchors'));
  step('Booting an emulated machine from it');
  const verdict = await boot({ url: `${serving.url}/boot.ipxe`, anchors: keys, now });
  return { keys, tree, sealed, serving, verdict };
}

/** On the usual port, or on any free one when that is taken: a first look should not fail for a busy port. */
async function serveSomewhere(options: DemoOptions, tree: string, anchors: string): Promise<Serving> {
  const { now, log, bind } = options;
  const common = {
    tree,
    anchors,
    now,
    log,
    tftpPort: 0,
    nbdPort: 0,
    ...(bind === undefined ? {} : { bind }),
  };
  try {
    return await serve({
      ...common,
      ...(options.httpPort === undefined ? {} : { httpPort: options.httpPort }),
    });
  } catch (error) {
    if (!(error instanceof ListenError && error.code === 'EADDRINUSE' && options.httpPort === undefined))
      throw error;
    return serve({ ...common, httpPort: 0 });
  }
}
