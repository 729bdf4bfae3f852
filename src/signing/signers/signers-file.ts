import type { KeyObject } from 'node:crypto';
import { join, resolve } from 'node:path';
import { Refusal } from '../../errors/refusal.ts';
import { lstatIfThere, statIfThere } from '../../files/read-if-there.ts';
import { readWhole } from '../../files/reading.ts';
import type { DigestSigner } from './digest-signer.ts';
import type { SignerKind } from './make-signer.ts';
import type { SigndTls } from './signd-signer.ts';
import type { SignerTable } from './signers-schema.ts';
import { SIGNING_KEYS, type SigningKey } from './signing-keys.ts';
import type { TimeLimit, Waiting } from './time-limit.ts';

export const SIGNERS_FILE = 'signers.toml';

/** Whether a folder says who signs with its keys. A link that points nowhere counts: `readSigners` refuses it. */
export async function hasSigners(folder: string): Promise<boolean> {
  return (await lstatIfThere(join(folder, SIGNERS_FILE))) !== undefined;
}

/**
 * Reads `signers.toml` of an `init` folder: which of its keys live elsewhere, and who signs with them. Nobody
 * is asked yet. Without that file there are none.
 *
 * @param publicKeys of the certificates and the OpenPGP key. For a key that is not given no signer is made.
 * @param waiting as in `TimeLimit`.
 * @throws Refusal `unsafe-keys` where others may write the file or its folder: it names programs to run; `absent` for
 *   a file that it names. UsageError for a file that cannot be meant, IoError for one that cannot be read.
 */
export async function readSigners(
  folder: string,
  publicKeys: Readonly<Partial<Record<SigningKey, KeyObject>>>,
  waiting: Waiting = {},
): Promise<Partial<Record<SigningKey, DigestSigner>>> {
  const path = join(folder, SIGNERS_FILE);
  if (!(await isThereAndOurs(folder, path))) return {};
  const { SIGNERS } = await import('./signers-schema.ts');
  const { readOperatorFile } = await import('../../files/operator-file.ts');
  const { makeSigner } = await import('./make-signer.ts');
  const file = await readOperatorFile(path, SIGNERS);
  const signers: Partial<Record<SigningKey, DigestSigner>> = {};
  for (const key of SIGNING_KEYS) {
    const table = file[key];
    const publicKey = publicKeys[key];
    if (table === undefined || publicKey === undefined) continue;
    signers[key] = makeSigner(await kindOf(folder, key, table, waiting), publicKey);
  }
  return signers;
}

async function kindOf(
  folder: string,
  key: SigningKey,
  table: SignerTable,
  waiting: Waiting,
): Promise<SignerKind> {
  const timeLimit: TimeLimit = { seconds: table.timeout ?? 60, ...waiting };
  const { command, pkcs11: uri, pin_file: pin, module, signd: server, user, framing = 'new' } = table;
  const { gpg_agent: agent, gnupghome: home, keygrip } = table;
  if (command !== undefined) return { kind: 'command', key, argv: command, timeLimit };
  if (uri !== undefined && pin !== undefined) {
    const pinFile = resolve(folder, pin);
    return { kind: 'pkcs11', uri, pinFile, ...(module !== undefined && { module }), timeLimit };
  }
  if (server !== undefined && user !== undefined) {
    const tls = await readTls(folder, table);
    return { kind: 'signd', ...server, user, framing, ...(tls && { tls }), timeLimit };
  }
  if (agent !== undefined) {
    return {
      kind: 'agent',
      key,
      ...(agent !== true && { socket: resolve(folder, agent) }),
      ...(home !== undefined && { home: resolve(folder, home) }),
      ...(keygrip !== undefined && { keygrip }),
      timeLimit,
    };
  }
  throw new Error('the schema lets no other table through');
}

async function readTls(folder: string, table: SignerTable): Promise<SigndTls | undefined> {
  const read = async (name: string): Promise<string> => {
    return (await readWhole(resolve(folder, name))).toString('latin1');
  };
  const { tls_ca: ca, tls_cert: certificate, tls_key: key } = table;
  if (ca === undefined) return undefined;
  if (certificate === undefined || key === undefined) return { ca: await read(ca) };
  const keyPath = resolve(folder, key);
  // One that is not there is told of when it is read.
  const mode = (await statIfThere(keyPath))?.mode ?? 0;
  if ((mode & 0o077) !== 0) {
    throw new Refusal(
      'unsafe-keys',
      `Others on this machine may use ${keyPath}; run "chmod 600 ${keyPath}".`,
      { path: keyPath },
    );
  }
  return { ca: await read(ca), certificate: await read(certificate), key: await read(key) };
}

/** Whoever may write this file says what is run, as whom we are, whenever something is sealed. */
async function isThereAndOurs(folder: string, path: string): Promise<boolean> {
  const [file, around] = [await lstatIfThere(path), await statIfThere(folder)];
  if (file === undefined || around === undefined) return false;
  if (!file.isFile()) throw new Refusal('unsafe-keys', `${path} is a symbolic link, or no file.`, { path });
  for (const [place, facts] of [
    [path, file],
    [folder, around],
  ] as const) {
    if ((facts.mode & 0o022) !== 0) {
      throw new Refusal(
        'unsafe-keys',
        `Others on this machine may write ${place}, and signers.toml names programs to run; run "chmod go-w ${place}".`,
        { path: place },
      );
    }
    if (facts.uid !== 0 && facts.uid !== process.geteuid?.()) {
      throw new Refusal(
        'unsafe-keys',
        `${place} belongs to another user, and signers.toml names programs to run; run "chown" on it.`,
        { path: place },
      );
    }
  }
  return true;
}
