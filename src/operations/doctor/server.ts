import { request } from 'node:http';
import { codeOf } from '../../errors/io.ts';
import { urlHost } from '../../formats/net/ip-address.ts';
import { type Finding, Findings } from './finding.ts';

/** What one of the pages of a server said. */
export interface Said {
  readonly status: number;
  readonly text: string;
}

export interface ServerFacts {
  /** `http://10.0.0.1:8080` */
  readonly url: string;
  /** Undefined: nothing answered there. */
  readonly health: Said | undefined;
  readonly ready: Said | undefined;
}

/** `/healthz` of Bootseal says so, and nothing else does by accident. */
export function isHealthy({ health }: Pick<ServerFacts, 'health'>): boolean {
  return health?.status === 200 && health.text === 'ok\n';
}

export function judgeServer(facts: ServerFacts): readonly Finding[] {
  const { url, health, ready } = facts;
  const findings = new Findings('server');
  if (health === undefined || ready === undefined) {
    findings.notChecked(`nothing answers at ${url}`, 'Start "bootseal serve", and ask again while it runs.');
    return findings.all;
  }
  // A page of somebody else's: the ports say who that is.
  if (!isHealthy(facts)) {
    findings.fault(
      'not-ours',
      `what answers at ${url} is not Bootseal`,
      'Look at what holds that port, and stop it or choose another.',
    );
    return findings.all;
  }
  const lines = ready.text.split('\n').filter((line) => line !== '');
  if (ready.status !== 200) {
    findings.fault(
      'not-ready',
      `the server at ${url} says that no machine can be booted: ${lines.join(' ').replace(/\.$/, '')}`,
      'Do what its reason asks for; its log tells more.',
    );
    return findings.all;
  }
  for (const line of lines) {
    const [, warning] = /^warning: (.*)$/.exec(line) ?? [];
    if (warning !== undefined)
      findings.warning(
        'server-warns',
        `the server says: ${warning}`,
        `Do what it asks for, and look at ${url}/readyz again.`,
      );
  }
  if (findings.isWell) findings.ok(`the server at ${url} is ready and warns of nothing`);
  return findings.all;
}

/** Milliseconds. */
const PATIENCE = 5000;
/** Bytes. */
const MAX_PAGE = 256 * 1024;

/** Asks a server for its two pages. */
export async function serverFacts(address: string, port: number): Promise<ServerFacts> {
  const url = `http://${urlHost(address)}:${port}`;
  const health = await page(`${url}/healthz`);
  return { url, health, ready: health && (await page(`${url}/readyz`)) };
}

function page(url: string): Promise<Said | undefined> {
  return new Promise((resolve, reject) => {
    const asked = request(url, { agent: false, timeout: PATIENCE }, (answer) => {
      const pieces: Buffer[] = [];
      let size = 0;
      answer.on('data', (piece: Buffer) => {
        size += piece.length;
        if (size > MAX_PAGE) asked.destroy();
        else pieces.push(piece);
      });
      answer.on('close', () =>
        resolve({ status: answer.statusCode ?? 0, text: Buffer.concat(pieces).toString('utf8') }),
      );
    });
    asked.on('timeout', () => asked.destroy());
    asked.on('error', (error) => {
      // What cannot be reached, and what speaks no HTTP, is no server of ours.
      if (codeOf(error) !== undefined || asked.destroyed) resolve(undefined);
      else reject(error);
    });
    asked.end();
  });
}
