import type { KeyObject } from 'node:crypto';
import { isAbsolute, join, resolve } from 'node:path';
import { z } from 'zod';
import { Refusal } from '../../errors/refusal.ts';
import { readOperatorFile } from '../../files/operator-file.ts';
import { lstatIfThere, statIfThere } from '../../files/read-if-there.ts';
import { readWhole } from '../../files/reading.ts';
import { isSigndUser } from '../../formats/net/signd.ts';
import type { DigestSigner } from './digest-signer.ts';
import { makeSigner, type SignerKind } from './make-signer.ts';
import type { SigndTls } from './signd-signer.ts';
import type { TimeLimit, Waiting } from './time-limit.ts';

export const SIGNERS_FILE = 'signers.toml';

/** The keys of an `init` folder that may live elsewhere. */
export const SIGNING_KEYS = [
  'ca',
  'codesign',
  'boot',
  'manifest',
  'openpgp',
  'openpgp-script',
  'openpgp-manifest',
  'db',
  'pcr',
] as const;
export type SigningKey = (typeof SIGNING_KEYS)[number];

const KINDS = ['pkcs11', 'signd', 'gpg_agent', 'command'] as const;
/** What goes with each of them. */
const COMPANIONS: Readonly<Record<(typeof KINDS)[number], readonly string[]>> = {
  pkcs11: ['pin_file', 'module'],
  signd: ['user', 'tls_ca', 'tls_cert', 'tls_key', 'framing'],
  gpg_agent: ['gnupghome', 'keygrip'],
  command: [],
};

const PATH = z.string().regex(/^[^\x00-\x1f\x7f]{1,2048}$/, 'write a path');
const ARGUMENT = z.string().regex(/^[^\0]*$/, 'an argument holds no NUL');

/** Shells know what it means; files do not. */
const NO_TILDE = PATH.refine((path) => !path.startsWith('~'), 'write the path without "~"');

/** `HOST`, `HOST:PORT`, `[IPv6]`, `[IPv6]:PORT`. */
const ADDRESS = z.string().transform((text, context) => {
  const [, six, name, port = '5167'] =
    /^(?:\[([0-9A-Fa-f:.]{2,45})\]|([A-Za-z0-9._-]{1,253}))(?::([1-9][0-9]{0,4}))?$/.exec(text) ?? [];
  const host = six ?? name;
  if (host !== undefined && Number(port) <= 65_535) return { host, port: Number(port) };
  context.addIssue({ code: 'custom', message: 'write HOST:PORT' });
  return z.NEVER;
});

const TABLE = z
  .strictObject({
    pkcs11: z.string().optional(),
    pin_file: PATH.optional(),
    module: PATH.refine(isAbsolute, 'write an absolute path').optional(),
    signd: ADDRESS.optional(),
    user: z.string().refine(isSigndUser, 'write the name of a key, without "/", no "." in front').optional(),
    tls_ca: PATH.optional(),
    tls_cert: PATH.optional(),
    tls_key: PATH.optional(),
    framing: z.enum(['old', 'new']).optional(),
    gpg_agent: z.union([z.literal(true), NO_TILDE], 'write true, or the path of a socket').optional(),
    gnupghome: NO_TILDE.optional(),
    keygrip: z
      .string()
      .regex(/^[0-9A-Fa-f]{40}$/, 'write 40 hex digits')
      .optional(),
    command: z
      .tuple(
        [
          PATH.refine(
            (file) => isAbsolute(file) || !file.includes('/'),
            'write an absolute path, or a name on PATH',
          ),
        ],
        ARGUMENT,
      )
      .optional(),
    timeout: z.int().min(1).max(3600).optional(),
  })
  .superRefine((table, context) => {
    const message = misfit(table);
    if (message !== undefined) context.addIssue({ code: 'custom', message });
  });

type Table = z.infer<typeof TABLE>;

const FILE = z.strictObject(
  Object.fromEntries(SIGNING_KEYS.map((key) => [key, TABLE.optional()])) as Record<
    SigningKey,
    z.ZodOptional<typeof TABLE>
  >,
);

function misfit(table: Readonly<Record<string, unknown>>): string | undefined {
  const has = (key: string) => table[key] !== undefined;
  const [kind, ...more] = KINDS.filter(has);
  if (kind === undefined || more.length > 0) return 'write one of pkcs11, signd, gpg_agent and command';
  const other = Object.keys(table).find((key) => ![kind, 'timeout', ...COMPANIONS[kind]].includes(key));
  if (other !== undefined) return `${other} does not go with ${kind}`;
  if (kind === 'pkcs11' && !has('pin_file')) return 'pkcs11 needs a pin_file';
  if (has('gnupghome') && table.gpg_agent !== true) return 'gnupghome goes with gpg_agent = true';
  if (kind === 'signd' && !has('user')) return 'signd needs a user';
  if (has('tls_cert') !== has('tls_key')) return 'tls_cert and tls_key go together';
  // Without it the connection is plain, and a certificate given would protect nothing.
  if (has('tls_cert') && !has('tls_ca')) return 'tls_cert needs a tls_ca';
  return undefined;
}

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
  const file = await readOperatorFile(path, FILE);
  const signers: Partial<Record<SigningKey, DigestSigner>> = {};
  for (const key of SIGNING_KEYS) {
    const table = file[key];
    const publicKey = publicKeys[key];
    if (table === undefined || publicKey === undefined) continue;
    signers[key] = makeSigner(await kindOf(folder, key, table, waiting), publicKey);
  }
  return signers;
}

async function kindOf(folder: string, key: SigningKey, table: Table, waiting: Waiting): Promise<SignerKind> {
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

async function readTls(folder: string, table: Table): Promise<SigndTls | undefined> {
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
