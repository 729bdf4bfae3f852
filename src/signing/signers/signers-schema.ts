import { isAbsolute } from 'node:path';
import { z } from 'zod';
import { isSigndUser } from '../../formats/net/signd.ts';
import { SIGNING_KEYS, type SigningKey } from './signing-keys.ts';

/** What `signers.toml` may say. */

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

/** Who signs with one key. */
export type SignerTable = z.infer<typeof TABLE>;

export const SIGNERS = z.strictObject(
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
