import { z } from 'zod';
import { Malformed } from '../errors/malformed.ts';
import { Refusal } from '../errors/refusal.ts';
import { UsageError } from '../errors/usage.ts';
import { parseOperatorFile, readOperatorFile } from '../files/operator-file.ts';
import { unwrapKeyring } from '../formats/openpgp/keyring-file.ts';
import { REQUIRED_CHECKS, type RequiredCheck } from '../formats/records/policy-floor.ts';
import { isChannelName } from '../formats/records/safe-path.ts';
import { decodeOpenpgpCertificates, type OpenpgpCertificate } from './openpgp-certificate.ts';
import { defaultPolicy, type Policy } from './policy.ts';

/** A TOML date or date-time; midnight UTC where there is no time. */
const TIME = z
  .custom<Date>(
    (value) => value instanceof Date && !Number.isNaN(value.getTime()),
    'write a date: 2026-11-01',
  )
  .transform((value) => value.getTime());
const SHA256 = z.string().regex(/^[0-9a-f]{64}$/, 'write 64 hexadecimal digits in small letters');
const REASON = z.string().regex(/^[ -~]{1,200}$/, 'write one line of plain text');

/** `--policy FILE`: dates are those from which something is no longer accepted. */
const POLICY = z.strictObject({
  hash_cutoff: z
    .strictObject({
      md5: TIME.optional(),
      sha1: TIME.optional(),
      sha224: TIME.optional(),
      sha256: TIME.optional(),
      sha384: TIME.optional(),
      sha512: TIME.optional(),
    })
    .optional(),
  rsa: z
    .strictObject({
      minimum: z.int().min(1024).max(16384),
      since: TIME,
      before: z.int().min(1024).max(16384),
    })
    .optional(),
  openpgp_threshold: z.int().min(1).max(16).optional(),
  pinned: z.array(z.strictObject({ sha256: SHA256, until: TIME, reason: REASON })).default([]),
  revoked: z
    .array(
      z.strictObject({
        id: z.string().regex(/^([0-9a-f]{64}|[0-9a-f]{40})$/, 'write a SHA-256 or an OpenPGP fingerprint'),
        kind: z.enum(['hard', 'soft']),
        since: TIME,
        reason: REASON,
      }),
    )
    .default([]),
  publish: z
    .strictObject({
      require: z.array(z.enum(REQUIRED_CHECKS)).optional(),
      margin_days: z.int().min(0).max(3650).optional(),
      max_serial_days: z.int().min(1).max(3650).optional(),
      unverified: z.array(z.string().regex(/^[ -~]{1,200}$/, 'write a name as "seal" shows it')).optional(),
    })
    .default({}),
  promote: z
    .strictObject({
      channels: z.array(z.string().refine(isChannelName, 'is no name of a channel')).min(1),
      least: z.int().min(1).max(16),
      /** Armored, as "gpg --armor --export" writes them. */
      people: z.string().min(1),
    })
    .optional(),
  machines: z
    .strictObject({
      /** GRUB knows no dates: what was signed for it can be replayed for as long as its image is used. */
      armed_by_grub: z.boolean().default(false),
    })
    .default({ armed_by_grub: false }),
});

/** What a release must hold to be published. */
export interface PublishRules {
  /**
   * Checks that early userspace must make: archiso where the command line asks for them (`manifest` by its digest), an
   * overlay by its nature and its policy floor. Undefined: all that the kind of early userspace makes.
   */
  readonly require?: readonly RequiredCheck[];
  /** Days by which certificates must outlive best-before. */
  readonly marginDays: number;
  /** Days into the future that a date-like serial may name: a jump further would shut out all that follow. */
  readonly maxSerialDays: number;
  /** What a machine may take though nobody there verifies it: paths, or words of a command line before their `=`. */
  readonly unverified: readonly string[];
}

/** Who has to sign a release, beside its build, before a channel may name it. */
export interface PromoteRules {
  readonly channels: readonly string[];
  /** So many distinct people. */
  readonly least: number;
  readonly people: readonly OpenpgpCertificate[];
}

export interface PolicyFile {
  /** What it says, in one way of writing: two files that say the same have the same. */
  readonly canonical: string;
  readonly publish: PublishRules;
  /** Undefined: channels move on the word of their key. */
  readonly promote: PromoteRules | undefined;
  readonly machines: { readonly armedByGrub: boolean };
  /**
   * @param asOf what algorithms, certificates and soft revocations are judged at; milliseconds since 1970.
   * @param clock the operator's, by which pins end.
   */
  at(asOf: number, clock: number): Policy;
}

/** The policy where nobody wrote one. */
export const DEFAULT_POLICY_FILE: PolicyFile = policyOf(POLICY.parse({}));

/** Reads a policy file, or answers the default policy where none was named. @throws UsageError, IoError */
export async function readPolicyFileOr(path: string | undefined): Promise<PolicyFile> {
  return path === undefined ? DEFAULT_POLICY_FILE : await readPolicyFile(path);
}

/** Reads a policy file. @throws UsageError, IoError */
export async function readPolicyFile(path: string): Promise<PolicyFile> {
  return policyOf(await readOperatorFile(path, POLICY), path);
}

/** The same of a file that was read. @param path names it in errors. */
export function parsePolicyFile(path: string, text: string): PolicyFile {
  return policyOf(parseOperatorFile(path, text, POLICY), path);
}

function policyOf(file: z.infer<typeof POLICY>, path = ''): PolicyFile {
  return {
    canonical: canonical(file),
    publish: {
      ...(file.publish.require ? { require: file.publish.require } : {}),
      marginDays: file.publish.margin_days ?? 90,
      maxSerialDays: file.publish.max_serial_days ?? 400,
      unverified: file.publish.unverified ?? [],
    },
    promote: file.promote && { ...file.promote, people: peopleOf(path, file.promote) },
    machines: { armedByGrub: file.machines.armed_by_grub },
    at(asOf, clock) {
      const base = defaultPolicy(asOf, clock);
      return {
        ...base,
        hashCutoff: { ...base.hashCutoff, ...defined(file.hash_cutoff ?? {}) },
        rsaBits: file.rsa ?? base.rsaBits,
        openpgpThreshold: file.openpgp_threshold ?? 1,
        pins: file.pinned,
        revoked: file.revoked.map(({ kind, ...rest }) => ({ ...rest, hard: kind === 'hard' })),
      };
    },
  };
}

/** @throws UsageError */
function peopleOf(
  path: string,
  { people, least }: { readonly people: string; readonly least: number },
): readonly OpenpgpCertificate[] {
  const wrong = (why: string, cause?: unknown) =>
    new UsageError(`${path}: promote.people ${why}.`, cause === undefined ? {} : { cause });
  try {
    const packets = unwrapKeyring(Buffer.from(people));
    const certificates = decodeOpenpgpCertificates(Buffer.concat(packets));
    const distinct = new Set(certificates.map(({ primary }) => primary.fingerprint)).size;
    if (distinct < least) throw wrong(`holds ${distinct} keys, and ${least} people have to sign`);
    return certificates;
  } catch (error) {
    if (error instanceof Malformed || error instanceof Refusal)
      throw wrong(`holds no OpenPGP keys: ${error.message.replace(/\.$/, '')}`, error);
    throw error;
  }
}

/** JSON with its keys in order. */
function canonical(value: unknown): string {
  return JSON.stringify(value, (_, inner: unknown) =>
    typeof inner === 'object' && inner !== null && !Array.isArray(inner)
      ? Object.fromEntries(Object.entries(inner).sort(([a], [b]) => (a < b ? -1 : 1)))
      : inner,
  );
}

/** Without the keys that are not set: under exactOptionalPropertyTypes those would hide what they override. */
function defined<T extends object>(values: T): { [K in keyof T]?: Exclude<T[K], undefined> } {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined)) as {
    [K in keyof T]?: Exclude<T[K], undefined>;
  };
}
