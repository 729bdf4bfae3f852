import { CLIENT_SUMMARY, CLIENTS } from '../conformance/client-names.ts';
import { type ClientVerdict, runClients } from '../conformance/clients.ts';
import { Refusal } from '../errors/refusal.ts';
import { calledOf } from '../formats/asn1/certificate-name.ts';
import { decodeDetachedCms } from '../formats/asn1/cms.ts';
import type { Certificate } from '../formats/asn1/x509.ts';
import { linuxOf, type Manifest } from '../formats/records/manifest.ts';
import { RECORD, SEAL, UKI } from '../formats/records/seal-names.ts';
import { releaseBooter } from '../machines/release-booter.ts';
import { demandOwnWords } from '../release/own-words.ts';
import { releaseSite } from '../release/release-site.ts';
import { whoVerifies } from '../release/who-verifies.ts';
import { withEntries } from '../serve/entry-site.ts';
import { type Anchors, anchorId } from '../trust/anchors.ts';
import { day } from '../trust/policy.ts';
import type { PublishRules } from '../trust/policy-file.ts';
import { isSignedBy } from '../trust/tree-keys.ts';
import type { TrustRoots } from '../trust/trust-roots.ts';
import type { Verdict, Verifier } from '../trust/verifier.ts';
import { earlyUserspaceOf, keysInside, whatIsChecked } from './gate-early.ts';
import { siteTransport } from './site-transport.ts';

/** What every release passes before any machine sees it. */

const DAY = 86_400_000;
/** A number that is no date may jump so far, and a date so far ahead as the policy says. */
const MAX_SERIAL_STEP = 1_000_000;

export interface GateRow {
  readonly gate: string;
  /** What was found, where it is good. */
  readonly fact: string;
  readonly refusal: Refusal | undefined;
  readonly warnings: readonly string[];
}

export interface HighestSerial {
  readonly release: string;
  readonly serial: number;
}

export interface GateOptions {
  /** The tree as it was judged: seals, lint. */
  readonly verdict: Verdict;
  /** Whose verdict it is. */
  readonly verifier: Verifier;
  readonly rules: PublishRules;
  /** What the channel had before: the highest serial of its history. */
  readonly highest: HighestSerial | undefined;
}

export interface GateResult {
  readonly rows: readonly GateRow[];
  /** The first refusal of all; undefined: it may be published. */
  readonly refusal: Refusal | undefined;
}

/** A fact, and what a person should know beside it. */
type Found = string | { readonly fact: string; readonly warnings: readonly string[] };

/** Asks every gate, also after a refusal, so that a person sees all that is wrong at once. */
export async function runGate(options: GateOptions): Promise<GateResult> {
  const rows: GateRow[] = [];
  const ask = async (gate: string, question: () => Promise<Found> | Found): Promise<void> => {
    try {
      const found = await question();
      const { fact, warnings } = typeof found === 'string' ? { fact: found, warnings: [] } : found;
      rows.push({ gate, fact, refusal: undefined, warnings });
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      rows.push({ gate, fact: '', refusal: error, warnings: [] });
    }
  };
  const { verdict, verifier, rules } = options;
  const { roots, policy, now } = verifier;
  const { release } = verdict;
  // 1. Every seal of every file, and a boot script that the linter has proven.
  await ask('seals', () => {
    if (!release) throw verdict.refusal ?? new Refusal('no-verdict', 'Nothing vouches for this tree.', {});
    // It would not be published, and the loaders it is for would stop without a word.
    const [script] = release.unjudged;
    if (script !== undefined) {
      throw new Refusal(
        'untrusted-signer',
        script === UKI
          ? `${script} is for Secure Boot, and the anchors hold no db.crt: put it there, or take the image out of the tree.`
          : `${script} is for the loaders of another CA, whose anchors were not given: give them with a second --anchors, or take its files out of the tree.`,
        { path: script },
      );
    }
    return `${verdict.rows.length} files, every seal of each`;
  });
  if (release) {
    const { manifest, records } = release;
    const { own: anchors, others } = roots;
    const transport = siteTransport(
      withEntries(
        releaseBooter(() => ({ release, refusal: undefined })),
        releaseSite(release, new Map()),
      ),
    );
    const files = (path: string) => `${BASE}/releases/${manifest.release}/${path}`;
    // 2. Arch, 2021.11.01: the initramfs held no public key, and nobody had looked.
    const early = earlyUserspaceOf(manifest, transport, files);
    await ask('keys in initramfs', () => keysInside(manifest, records, anchors, early));
    // 3. A check that nobody asks for does not happen.
    await ask('command line', () => whatIsChecked(manifest, rules, early));
    // 4. What the loader never sees, somebody else must look at.
    await ask('on the machine', () => demandVerified(manifest, rules));
    // 5. A channel goes forward, and not so far that nothing can follow.
    await ask('serial', () => demandSerial(manifest, options.highest, rules, now));
    // 6. 2026: a certificate ran out inside what was published.
    await ask('certificates', () => outlive(manifest, verdict, roots, rules));
    // 7. Every client, against the tree as it would be served.
    for (const verdict of await runClients({
      transport,
      base: BASE,
      anchors,
      policy,
      now,
      arch: manifest.arch,
    })) {
      rows.push(clientRow(`client ${verdict.client}`, verdict));
    }
    // 8. Loaders of the other CAs. GRUB knows no CA.
    for (const other of others) {
      const offer = { transport, base: BASE, anchors: other, policy, now, arch: manifest.arch };
      for (const verdict of await runClients(offer, OF_A_CA)) {
        rows.push(clientRow(`client ${verdict.client}, CA ${idsOf([other]).join()}`, verdict));
      }
    }
  } else {
    for (const gate of [
      'keys in initramfs',
      'command line',
      'on the machine',
      'serial',
      'certificates',
      ...CLIENTS.map((name) => `client ${name}`),
    ]) {
      rows.push({ gate, fact: 'not asked', refusal: undefined, warnings: [] });
    }
  }
  return { rows, refusal: rows.find(({ refusal }) => refusal)?.refusal };
}

function clientRow(gate: string, { client, asked, refusal, warnings }: ClientVerdict): GateRow {
  return { gate, fact: asked ? CLIENT_SUMMARY[client] : 'not asked', refusal, warnings };
}

/** Clients that differ by the CA in their loader. */
const OF_A_CA = ['ipxe', 'ipxe-efi', 'archiso', 'manifest'] as const;

function idsOf(anchors: readonly Anchors[]): string[] {
  return anchors.flatMap(({ ca: [ca] }) => (ca ? [anchorId(ca)] : []));
}

/**
 * That somebody verifies whatever a machine will fetch or run, or that the policy lets it go by its name. Throws
 * `no-verdict`.
 */
export function demandVerified(manifest: Manifest, { unverified }: PublishRules): Found {
  demandOwnWords(manifest.release, manifest.layout, linuxOf(manifest).cmdline);
  const things = whoVerifies(manifest);
  const nobody = things.filter(({ by }) => by === 'nobody');
  const refused = nobody.filter(({ name }) => !unverified.includes(name));
  const [first] = refused;
  if (first) {
    const names = refused.map(({ name }) => JSON.stringify(name)).join(', ');
    throw new Refusal(
      'no-verdict',
      `Nobody on the machine verifies ${refused.map(({ what, how }) => `${what} (${how})`).join(', nor ')}; docs/trees.md has the ways out, and a policy lets it go with unverified = [${names}] under [publish].`,
      { name: first.name },
    );
  }
  const by = (['loader', 'overlay', 'system'] as const).map(
    (who) => [who, things.filter((thing) => thing.by === who).length] as const,
  );
  const fact = by
    .filter(([, count]) => count > 0)
    .map(([who, count]) => `${count} by the ${who}`)
    .join(', ');
  const warnings = nobody.map(({ what }) => `lets go, by the policy, what NOBODY verifies: ${what}`);
  return warnings.length === 0 ? fact : { fact: `${fact}, ${warnings.length} by nobody`, warnings };
}

/** An address that is nobody's (RFC 5737): the gate's network ends at the site. */
const BASE = 'http://192.0.2.1:8080';

/**
 * A channel goes forward, and not so far that nothing can follow. Throws `rolled-back`, `unsafe-serial`.
 *
 * @param now milliseconds since 1970.
 */
export function demandSerial(
  manifest: Manifest,
  highest: HighestSerial | undefined,
  rules: PublishRules,
  now: number,
): string {
  const { serial, release } = manifest;
  if (highest && highest.release !== release && serial <= highest.serial) {
    throw new Refusal(
      'rolled-back',
      `${release} has serial ${serial}, and ${highest.release} with ${highest.serial} was published before; to go back is "bootseal channel rollback".`,
      { serial, highest: highest.serial },
    );
  }
  const date = dateOf(serial);
  if (date !== undefined && date > now + rules.maxSerialDays * DAY) {
    throw new Refusal(
      'unsafe-serial',
      `The serial ${serial} lies more than ${rules.maxSerialDays} days ahead: every release before that day would count as rolled back.`,
      { serial },
    );
  }
  if (date === undefined && highest && serial - highest.serial > MAX_SERIAL_STEP) {
    throw new Refusal(
      'unsafe-serial',
      `The serial jumps from ${highest.serial} to ${serial}; releases that follow could not be numbered for long.`,
      { serial, highest: highest.serial },
    );
  }
  return highest ? `${highest.serial} → ${serial}` : `${serial}, the first of this channel`;
}

/** Milliseconds of YYYYMMDDNN; undefined for a number that is no date. */
function dateOf(serial: number): number | undefined {
  const [, year = '', month = '', date = ''] = /^(\d{4})(\d\d)(\d\d)\d\d$/.exec(String(serial)) ?? [];
  const time = Date.parse(`${year}-${month}-${date}`);
  return Number.isNaN(time) ? undefined : time;
}

/** What was signed must outlive the release; a key that merely stands in the anchors need not. */
function outlive(
  { release, bestBefore }: Manifest,
  verdict: Verdict,
  { own: anchors, others }: TrustRoots,
  { marginDays }: PublishRules,
): Found {
  const ends: End[] = [];
  const otherEnds: End[] = [];
  const otherIds = new Set(idsOf(others));
  for (const ca of anchors.ca) ends.push(endOf(`the CA ${calledOf(ca)}`, ca));
  for (const ca of others.flatMap((other) => other.ca)) otherEnds.push(endOf(`the CA ${calledOf(ca)}`, ca));
  const own = new Set<Certificate>();
  for (const [path, bytes] of verdict.records) {
    const name = path.slice(path.lastIndexOf('/') + 1);
    if (path.endsWith(SEAL.cms)) {
      for (const info of decodeDetachedCms(bytes).signers) {
        const signer = [...anchors.codesign, ...anchors.manifest].find((leaf) => isSignedBy(info, leaf));
        if (signer) own.add(signer);
      }
    } else if (path.endsWith(SEAL.ipxe) || path === RECORD.bootIpxe + SEAL.openpgp) {
      const id = /\.([0-9a-f]{16})\.ipxe\.sig$/.exec(name)?.[1];
      const [leaf] = decodeDetachedCms(bytes).certificates;
      const into = id !== undefined && otherIds.has(id) ? otherEnds : ends;
      if (leaf) into.push(endOf(`the signer of ${name}`, leaf));
    }
  }
  for (const leaf of own) ends.push(endOf(calledOf(leaf), leaf));
  const signers = verdict.rows.flatMap(({ cells: { openpgp } }) =>
    openpgp?.verified ? [openpgp.evidence.signer, openpgp.evidence.holder ?? ''] : [],
  );
  for (const { keys, primary } of Object.values(anchors.openpgp).flat()) {
    for (const { key, expires } of keys) {
      const used = signers.some(
        (signer) => signer.includes(key.fingerprint) || signer.includes(primary.fingerprint),
      );
      if (used && expires !== undefined) ends.push({ name: `the OpenPGP key ${key.keyId}`, end: expires });
    }
  }
  const first = firstOf(ends);
  const needed = bestBefore + marginDays * DAY;
  if (first && first.end < needed) {
    throw new Refusal(
      'expired',
      `${first.name} ends on ${day(first.end)}; ${release} is best before ${day(bestBefore)}, and ${marginDays} days more are asked for.`,
      { end: day(first.end), needed: day(needed) },
    );
  }
  // A CA that is being replaced is near its end as a rule: its loaders are served as long as they can be.
  const other = firstOf(otherEnds);
  const warnings =
    other && other.end < needed
      ? [
          `for the loaders of the other CA: ${other.name} ends on ${day(other.end)}, and they stop starting ${release} then`,
        ]
      : [];
  const fact = first ? `the first to end is ${first.name}, on ${day(first.end)}` : 'none ends';
  return { fact, warnings };
}

interface End {
  readonly name: string;
  /** Milliseconds since 1970. */
  readonly end: number;
}

function endOf(name: string, { notAfter }: Certificate): End {
  return { name, end: notAfter };
}

function firstOf(ends: readonly End[]): End | undefined {
  return [...ends].sort((a, b) => a.end - b.end)[0];
}
