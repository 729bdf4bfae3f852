import { isIP } from 'node:net';
import { type Command, InvalidArgumentError } from 'commander';
import { UsageError } from '../../errors/usage.ts';
import { uidOf } from '../../keyholder/accounts.ts';
import type { Finding, FindingState } from '../../operations/doctor.ts';
import { act, folder, folders, newCommand, port } from '../context.ts';
import { EXIT } from '../exit.ts';
import { SUMMARIES } from '../summaries.ts';
import type { Cell } from '../table.ts';
import type { Terminal } from '../terminal.ts';

interface Options {
  readonly state?: string;
  readonly channel?: string;
  readonly anchors?: readonly string[];
  readonly config?: string;
  readonly loaders?: string;
  readonly bind?: readonly string[];
  readonly httpPort: number;
  readonly tftpPort: number;
  readonly tftp: boolean;
  readonly nbdPort: number;
  readonly nbd: boolean;
  readonly proxydhcp?: readonly string[];
  readonly probe: boolean;
  readonly keyholder?: string;
  readonly keyholderUser?: string;
}

export function doctorCommand(): Command {
  return newCommand(
    'doctor',
    SUMMARIES.doctor,
    'bootseal doctor --state /srv/bootseal --anchors keys/anchors --proxydhcp eth0',
  )
    .option('--state <dir>', 'where releases and channels live', folder)
    .option('--channel <name>', 'as of "serve": the channel whose release machines boot by default')
    .option('--anchors <dir>', 'what the releases must lead to, once for each CA', folders)
    .option('--config <file>', 'the operator’s configuration (TOML)')
    .option('--loaders <dir>', 'the folder of loaders; default: STATE/loaders', folder)
    .option('--bind <address>', 'as of "serve", once for each', addresses)
    .option('--http-port <n>', 'as of "serve"', port, 8080)
    .option('--tftp-port <n>', 'as of "serve"', port, 69)
    .option('--no-tftp', 'TFTP is left out')
    .option('--nbd-port <n>', 'as of "serve"', port, 10_809)
    .option('--no-nbd', 'NBD is left out')
    .option(
      '--proxydhcp <interface>',
      'as of "serve"; ONE DHCPDISCOVER is sent there, to hear who offers what',
      names,
    )
    .option('--no-probe', 'send nothing')
    .option('--keyholder <socket>', 'whether somebody answers there; nothing is asked of it')
    .option('--keyholder-user <name|uid>', 'the user that it runs as, where that is neither root nor you')
    .addHelpText(
      'after',
      '\nGive it the options that "serve --state" is given. Nothing is changed: ports are taken for an instant and let go, and' +
        '\nnobody is asked but the server and the keyholder of this machine. With --proxydhcp, and without --no-probe, one' +
        '\nDHCPDISCOVER is sent on each interface.' +
        '\nExit status: 0 nothing is wrong (there may be warnings), 1 a fault was found, 3 it could not look everywhere.\n',
    )
    .action(
      act<Options>(async ({ terminal, now }, options) => {
        const { CHECKS, examine } = await import('../../operations/doctor.ts');
        const { state, channel, anchors, config, loaders, bind, proxydhcp, keyholder, keyholderUser } =
          options;
        if (channel !== undefined && state === undefined) throw new UsageError('--channel needs --state.');
        if (keyholderUser !== undefined && keyholder === undefined)
          throw new UsageError('--keyholder-user needs --keyholder.');
        const bar = terminal.progress('looking', CHECKS.length, String);
        const findings = await examine({
          ...(state === undefined ? {} : { state }),
          ...(channel === undefined ? {} : { channel }),
          ...(anchors === undefined ? {} : { anchors }),
          ...(config === undefined ? {} : { config }),
          ...(loaders === undefined ? {} : { loaders }),
          ...(bind === undefined ? {} : { bind }),
          ...(proxydhcp === undefined ? {} : { proxyDhcp: proxydhcp }),
          ...(keyholder === undefined ? {} : { keyholder }),
          ...(keyholderUser === undefined ? {} : { keyholderUid: await uidOf(keyholderUser) }),
          httpPort: options.httpPort,
          tftpPort: options.tftp ? options.tftpPort : false,
          nbdPort: options.nbd ? options.nbdPort : false,
          probe: options.probe,
          path: process.env.PATH ?? '',
          now,
          onProgress: (done) => bar.update(done),
        }).finally(() => bar.stop());
        return show(terminal, findings);
      }),
    );
}

const SHOWN: Readonly<Record<FindingState, Omit<Cell, 'text'> & { readonly text: string }>> = {
  ok: { text: 'ok', style: 'good' },
  warning: { text: 'warning', style: 'bold' },
  fault: { text: 'FAULT', style: 'bad' },
  'not-checked': { text: 'not checked', style: 'dim' },
};

function show(terminal: Terminal, findings: readonly Finding[]): number {
  const count = (state: FindingState) => findings.filter((finding) => finding.state === state).length;
  const [faults, warnings, notChecked] = [count('fault'), count('warning'), count('not-checked')];
  terminal.json({
    ...{ faults, warnings, notChecked },
    findings: findings.map(({ code, advice, couldNotLook, ...finding }) => ({
      ...finding,
      code: code ?? null,
      advice: advice ?? null,
      couldNotLook: couldNotLook === true,
    })),
  });
  terminal.table(
    ['CHECK', 'STATE', 'FOUND'],
    findings.map(({ check, state, found }) => [{ text: check }, SHOWN[state], { text: found }]),
  );
  const open = findings.filter(({ state }) => state !== 'ok');
  if (open.length > 0) {
    terminal.print();
    terminal.print('What to do:', 'bold');
    // Under one another where the same helps several.
    const width = Math.max(...open.map(({ check }) => check.length));
    const told = new Set<string>();
    for (const { check, advice = '' } of open) {
      const line = `  ${check.padEnd(width)}  ${advice}`;
      if (told.has(line)) continue;
      told.add(line);
      terminal.print(line);
    }
  }
  terminal.print();
  const summary = `${counted(faults, 'fault')}, ${counted(warnings, 'warning')}, ${notChecked} not checked`;
  const unlooked = findings.some(({ couldNotLook }) => couldNotLook === true);
  if (faults > 0) terminal.refused(`${summary}: machines may not boot.`);
  else if (unlooked) terminal.error(`${summary}: not everything could be looked at.`);
  else terminal.print(`${summary}.`, 'good');
  if (faults > 0) return EXIT.refused;
  return unlooked ? EXIT.fault : EXIT.ok;
}

function counted(count: number, what: string): string {
  return `${count === 0 ? 'no' : count} ${what}${count === 1 ? '' : 's'}`;
}

/** Gathers what `--proxydhcp` names. */
function names(name: string, before: readonly string[] = []): readonly string[] {
  return [...before, name];
}

function addresses(text: string, before: readonly string[] = []): readonly string[] {
  if (isIP(text) === 0) throw new InvalidArgumentError('That is not an IP address.');
  return [...before, text];
}
