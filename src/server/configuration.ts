import { dirname, resolve } from 'node:path';
import { z } from 'zod';
import { Malformed } from '../errors/malformed.ts';
import { UsageError } from '../errors/usage.ts';
import { readOperatorFile } from '../files/operator-file.ts';
import { decodeIpPrefix } from '../formats/net/ip-address.ts';
import { isMirrorUrl } from '../formats/records/mirror-health.ts';
import { isSafePath } from '../formats/records/safe-path.ts';
import { DHCP_CLIENTS } from '../release/server-event.ts';

/** `10.1.0.0/16`, `fd00:1::/48`, or one address. */
const PREFIX = z
  .string()
  .refine(isPrefix, 'must be an IP address, or one with a prefix length such as 10.1.0.0/16');

/** `10.20.0.0/16`: DHCP is answered over IPv4 alone. */
const PREFIX4 = PREFIX.refine((text) => !text.includes(':'), 'must be IPv4');

/** A path at the server; false: such machines are not answered. */
const LOADER = z.union([z.literal(false), z.string().refine(isSafePath, 'must be a path at the server')]);

/** `serve --proxydhcp`. */
const PROXY_DHCP = z.strictObject({
  /** Relays that are believed, by the addresses that they send from and that they put into messages (giaddr). */
  relays: z.array(PREFIX4).default([]),
  /** Networks behind relays, whose machines may ask at port 4011. */
  networks: z.array(PREFIX4).default([]),
  /** The port of HTTP that machines are told; default: where HTTP listens. */
  site_port: z.number().int().min(1).max(65_535).optional(),
  /** Spares UEFI firmware its question at port 4011. */
  tftp_at_once: z.boolean().default(false),
  /** By kind of client. */
  loaders: z.partialRecord(z.enum(DHCP_CLIENTS), LOADER).default({}),
});

const READING = z.enum(['open', 'token']);

/** `[api]` */
const API = z.strictObject({
  /** Whether reading needs a token, or is everybody's. Writing always needs one. */
  read: READING.default('open'),
  /** The same for `/metrics`; default: as `read`. */
  metrics: READING.optional(),
  /** Names under which people use the server, beside its addresses and `localhost`. */
  hosts: z
    .array(
      z
        .string()
        .regex(/^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$/, 'must be a name in small letters, without a port'),
    )
    .default([]),
});

/** `[tls]` */
const TLS = z.strictObject({
  /** PEM: the server's certificate first, then what stands between it and a root. */
  certificate: z.string().min(1),
  /** PEM, without a passphrase. */
  key: z.string().min(1),
  /** 0: an ephemeral one. */
  port: z.number().int().min(0).max(65_535).default(8443),
});

/** One of `[[mirrors]]`: who holds what this server serves, as `bootseal mirror audit` looks at it. */
const MIRROR = z.strictObject({
  /** Of the folder that holds `releases`; ends in a slash. */
  url: z
    .string()
    .refine(
      isMirrorUrl,
      'must be http:// or https://, a host in small letters and a folder that ends in a slash',
    ),
  /** One of twice the weight gets twice as many machines. */
  weight: z.number().int().min(1).max(1000).default(1),
  /** Machines of these networks alone are sent there; none: all are. */
  networks: z.array(PREFIX).default([]),
});

export type Mirror = z.infer<typeof MIRROR>;

/** `[steering]`: sends machines to mirrors for large files. */
const STEERING = z.strictObject({
  /** What `bootseal mirror audit --out` wrote, for each channel; a mirror counts that was verified there. */
  health: z.array(z.string().min(1)).min(1),
  /** Older than that, it says nothing, and nobody is sent anywhere. */
  max_age_hours: z.number().min(0.01).max(720).default(24),
  /** Files that are smaller are sent from here. */
  least_kib: z.number().int().min(0).max(1_073_741_824).default(1024),
});

/** `serve --config FILE`: what an operator may change, and nothing that arrives over a network ever can. */
export const CONFIGURATION = z.strictObject({
  /**
   * Lets loaders that cannot verify (a stock iPXE) start kernel and initrds unverified. Every page, log line
   * and screen then says so.
   */
  allow_unverified_loaders: z.boolean().default(false),
  /** Proxies whose X-Forwarded-For is believed. From anyone else the field is ignored. */
  trusted_proxies: z.array(PREFIX).default([]),
  /**
   * Networks that have a share of their own, so many times as large as that of one address: a classroom of forty
   * machines behind one router. Shares bind only where there is not enough for all.
   */
  shares: z
    .array(z.strictObject({ prefix: PREFIX, weight: z.number().int().min(1).max(100_000) }))
    .default([]),
  /**
   * TFTP answers from the port that it was asked at, for clients behind NAT and firewalls. Whoever can forge a client's
   * address can then also forge that it hears, and have files sent to it.
   */
  tftp_single_port: z.boolean().default(false),
  /**
   * `[loaders]`: the SHA-256 that a loader must have, by its name in the folder of `--loaders`. Another one is refused at
   * start; loaders that are not named are pinned to what they are then.
   */
  loaders: z
    .record(
      z.string(),
      z.string().regex(/^[0-9a-f]{64}$/, 'must be a SHA-256: 64 hex digits in small letters'),
    )
    .default({}),
  /** Hours after which everything that is served is read and held against its digest again; 0: never. */
  scrub_hours: z.number().min(0).max(336).default(24),
  /**
   * How long receipts of boots are kept, in days, and how much of them in MiB: the oldest go first. How patient to be with
   * a machine that is silent before it is called stalled: 2 waits twice as long as usual.
   */
  receipts: z
    .strictObject({
      keep_days: z.number().int().min(1).max(36_500).default(400),
      keep_mib: z.number().int().min(32).max(1_048_576).default(2048),
      patience: z.number().min(0.05).max(100).default(1),
    })
    .default({ keep_days: 400, keep_mib: 2048, patience: 1 }),
  /** `[cache]`: of a state in a bucket, what was fetched from there. */
  cache: z
    .strictObject({
      /** A folder of this server alone; default: a temporary one, which ends with it. */
      folder: z.string().min(1).optional(),
      size_mib: z.number().int().min(64).max(1_073_741_824).default(16_384),
    })
    .default({ size_mib: 16_384 }),
  /**
   * `[s3]`: where clients that follow redirects, and verify what they get, are sent for large files: `presigned` addresses
   * of the bucket, or an address below which its `releases/` can be fetched. Absent: nowhere.
   */
  s3: z
    .strictObject({
      redirect: z
        .union([z.literal('presigned'), z.url({ protocol: /^https?$/ })], {
          error: 'must be "presigned" or an address that begins with http:// or https://',
        })
        .optional(),
    })
    .default({}),
  /** Who may use the API and the page. */
  api: API.default(API.parse({})),
  /** HTTPS beside HTTP; absent: there is none. */
  tls: TLS.optional(),
  /**
   * `[syslog]`: hears what loaders write on their consoles, at this UDP port (0: an ephemeral one). iPXE sends to 514. Without
   * it nothing is heard.
   */
  syslog: z.strictObject({ port: z.number().int().min(0).max(65_535) }).optional(),
  mirrors: z.array(MIRROR).default([]),
  /** Absent: every byte is sent from here. */
  steering: STEERING.optional(),
  /** Who is told what over DHCP. */
  proxydhcp: PROXY_DHCP.default(PROXY_DHCP.parse({})),
});

export type Configuration = z.infer<typeof CONFIGURATION>;

export const DEFAULT_CONFIGURATION: Configuration = CONFIGURATION.parse({});

/** Reads a configuration file; the files that it names stand beside it, or have whole paths. Throws a `UsageError`. */
export async function readConfiguration(path: string): Promise<Configuration> {
  const configuration = await readOperatorFile(path, CONFIGURATION);
  const { tls, steering, mirrors, cache } = configuration;
  if (steering && mirrors.length === 0)
    throw new UsageError(`${path} has [steering] and no [[mirrors]] that machines could be sent to.`);
  const beside = (file: string) => resolve(dirname(path), file);
  return {
    ...configuration,
    ...(tls && { tls: { ...tls, certificate: beside(tls.certificate), key: beside(tls.key) } }),
    ...(steering && { steering: { ...steering, health: steering.health.map(beside) } }),
    ...(cache.folder !== undefined && { cache: { ...cache, folder: beside(cache.folder) } }),
  };
}

function isPrefix(text: string): boolean {
  try {
    decodeIpPrefix(text);
    return true;
  } catch (error) {
    if (!(error instanceof Malformed)) throw error;
    return false;
  }
}
