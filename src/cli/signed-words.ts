import { isoSeconds } from '../formats/records/lines.ts';
import type { Manifest } from '../formats/records/manifest.ts';
import { whoVerifies } from '../release/who-verifies.ts';
import type { Terminal } from './terminal.ts';

/**
 * What a signature lets a machine start: the command line, and what anybody on its network may add to that. The tree's
 * author writes both, so whoever signs is shown them.
 */
export function printSignedWords(terminal: Terminal, manifest: Manifest): void {
  terminal.print(
    `${manifest.release} (${manifest.layout}), serial ${manifest.serial}, issued ${isoSeconds(manifest.issued)}, best before ${isoSeconds(manifest.bestBefore)}`,
  );
  terminal.print(`command line: ${manifest.cmdline.join(' ') || 'no words'}`);
  if (manifest.moduleCmdline) terminal.print(`of its module: ${manifest.moduleCmdline.join(' ')}`);
  if (manifest.free.length > 0) {
    terminal.print(
      `loaders may add: ${manifest.free.map(({ name, type }) => `${name}=(${type})`).join(' ')}`,
    );
  }
  if (manifest.shell) terminal.print('early userspace may offer a SHELL');
}

/** The same for `--json`, spelt as in a manifest, and who verifies what of it. */
export function signedWords(manifest: Manifest) {
  const { layout, issued, bestBefore, cmdline, moduleCmdline, free, shell } = manifest;
  return {
    layout,
    issued: isoSeconds(issued),
    bestBefore: isoSeconds(bestBefore),
    cmdline: cmdline.join(' '),
    ...(moduleCmdline ? { moduleCmdline: moduleCmdline.join(' ') } : {}),
    free: free.map(({ name, type }) => `${name} ${type}`),
    shell,
    whoVerifies: whoVerifies(manifest),
  };
}
