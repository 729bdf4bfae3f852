import { z } from 'zod';
import { REQUIRED_CHECKS } from '../formats/records/policy-floor.ts';
import { isChannelName } from '../formats/records/safe-path.ts';

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
export const POLICY = z.strictObject({
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

export type WrittenPolicy = z.infer<typeof POLICY>;
