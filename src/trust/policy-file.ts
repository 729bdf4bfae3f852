import { Malformed } from '../errors/malformed.ts';
import { Refusal } from '../errors/refusal.ts';
import { UsageError } from '../errors/usage.ts';
import { unwrapKeyring } from '../formats/openpgp/keyring-file.ts';
import type { RequiredCheck } from '../formats/records/policy-floor.ts';
import { decodeOpenpgpCertificates, type OpenpgpCertificate } from './openpgp-certificate.ts';
import { defaultPolicy, type Policy } from './policy.ts';
import type { WrittenPolicy } from './policy-schema.ts';

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
export const DEFAULT_POLICY_FILE: PolicyFile = policyOf({
  pinned: [],
  revoked: [],
  publish: {},
  machines: { armed_by_grub: false },
});

/** @param path names the file in errors. @throws UsageError */
export function policyOf(file: WrittenPolicy, path = ''): PolicyFile {
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
