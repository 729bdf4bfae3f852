import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { isoSeconds } from '../../formats/records/lines.ts';
import { type Finding, Findings } from './finding.ts';

/** A time that somebody signed. */
export interface SignedTime {
  /** `the snapshot of stable` */
  readonly what: string;
  /** Milliseconds since 1970. */
  readonly at: number;
}

export interface ClockFacts {
  /** Milliseconds since 1970. */
  readonly now: number;
  readonly signed: readonly SignedTime[];
  /** Whether something keeps the clock right; undefined: nobody here can tell. */
  readonly synchronised: boolean | undefined;
}

/** Milliseconds. Two clocks that are both kept right differ by less. */
const SLACK = 60_000;

export function judgeClock({ now, signed, synchronised }: ClockFacts): readonly Finding[] {
  const findings = new Findings('clock');
  const [newest] = [...signed].sort((a, b) => b.at - a.at);
  if (newest && newest.at > now + SLACK)
    findings.fault(
      'clock-behind',
      `it is ${utc(now)} here, and ${newest.what} was signed at ${utc(newest.at)}`,
      'Set the clock and keep it right by NTP; where it is right, what was signed bears a time of the future and is refused until then.',
    );
  else findings.ok(`${utc(now)}${newest ? `, after ${newest.what} (${utc(newest.at)})` : ''}`);
  if (synchronised === false)
    findings.warning(
      'clock-alone',
      'nothing keeps this machine’s clock right',
      'Have it follow a time server: "timedatectl set-ntp true", or install chrony.',
    );
  else if (synchronised === undefined)
    findings.notChecked(
      'whether anything keeps the clock right: "timedatectl" does not say',
      'Look at whatever sets the clock of this machine, or of the host that this container runs on.',
    );
  return findings.all;
}

function utc(time: number): string {
  return isoSeconds(Math.floor(time / 1000) * 1000);
}

/** The kernel's word for it, as adjtimex(2) has it, by way of systemd. */
export async function isSynchronised(): Promise<boolean | undefined> {
  try {
    const words = ['show', '--property=NTPSynchronized', '--value'];
    const { stdout } = await promisify(execFile)('timedatectl', words, { cwd: '/', timeout: 10_000 });
    const [said] = stdout.split('\n');
    return said === 'yes' ? true : said === 'no' ? false : undefined;
  } catch {
    // No systemd here, or none that runs.
    return undefined;
  }
}
