import { join } from 'node:path';
import { Refusal } from '../../errors/refusal.ts';
import { FolderTree } from '../../files/folder-tree.ts';
import { lstatIfThere, readIfThere } from '../../files/read-if-there.ts';
import type { Certificate } from '../../formats/asn1/x509.ts';
import { RECORD } from '../../formats/records/seal-names.ts';
import type { ChannelRelease } from '../../formats/records/snapshot.ts';
import { sealedServers } from '../../scripts/sealed-server.ts';
import type { Bound } from '../../serve/listen.ts';
import { sealedElsewhere } from '../../server/sealed-address.ts';
import { auditLog } from '../../store/log-audit.ts';
import { quarantinedReleases, readQuarantined } from '../../store/quarantine.ts';
import { readStatePolicy } from '../../store/state-policy.ts';
import { readCertificatesFile } from '../../trust/certificates-file.ts';
import { defaultPolicy } from '../../trust/policy.ts';
import { verifySnapshot } from '../../trust/snapshot-check.ts';
import { fittingRoots, type TrustRoots } from '../../trust/trust-roots.ts';
import { Verifier } from '../../trust/verifier.ts';
import { type Finding, Findings } from './finding.ts';
import { lockHolder } from './lock-holder.ts';
import { withoutStop } from './look.ts';
import type { StateFacts, StoredRelease } from './state-facts.ts';

export interface StateCheckOptions {
  /** What releases must lead to; undefined: their records are not verified. */
  readonly roots: TrustRoots | undefined;
  /** Milliseconds since 1970. */
  readonly now: number;
  /** Where HTTP would listen; none: that was not said. */
  readonly http: readonly Bound[];
  /** The channel whose release machines boot by default; undefined: none was named. */
  readonly entry: string | undefined;
}

/** Refusals that time brings about: they are told with all that ends, and with the clock. */
const BY_THE_CLOCK: ReadonlySet<string> = new Set(['expired', 'not-yet-valid']);

/**
 * Whether a state holds together: what its channels name is there, signed and whole, as far as that can be told without
 * reading payload, which "bootseal verify" and the server's scrub do.
 *
 * @throws Refusal, UsageError, IoError
 */
export async function checkState(facts: StateFacts, options: StateCheckOptions): Promise<readonly Finding[]> {
  const { folder, channels } = facts;
  const findings = new Findings('state');
  const signers = await readCertificatesFile(join(folder, 'anchors', 'snapshot.crt'));
  if (channels.size === 0)
    findings.fault(
      'no-channel',
      `${folder} has no channel, so nothing is served`,
      'Publish a release: "bootseal publish TREE --channel stable".',
    );
  judgeEntry(findings, [...channels.keys()], options.entry);
  const seen = new Set<string>();
  for (const [name, stored] of channels) {
    const refusal =
      stored instanceof Refusal ? stored : await refusedSnapshot(name, stored, signers, options.now);
    if (refusal || stored instanceof Refusal) {
      findings.fault(
        'channel-refused',
        `${name}: ${withoutStop(refusal?.message ?? '')}`,
        `Find out who changed it ("bootseal log show"), and go back to a release that holds: "bootseal channel rollback ${name} RELEASE".`,
      );
      continue;
    }
    for (const named of stored.snapshot.releases) {
      const before = findings.all.length;
      await checkRelease(findings, facts, name, named, options, seen);
      if (findings.all.length === before) findings.ok(`${name} names ${named.release} for ${named.arch}`);
    }
  }
  if (options.roots === undefined)
    findings.notChecked(
      'whether the releases’ seals lead to your anchors: none were given',
      'Name them with --anchors.',
    );
  await checkQuarantine(findings, folder);
  await checkLog(findings, folder, signers, options.now);
  const holder = await lockHolder(join(folder, 'lock'));
  if (holder)
    findings.warning(
      'locked',
      `${holder.name} (process ${holder.pid}) is writing to ${folder}, and nobody else can meanwhile`,
      `Wait until it has ended; where it hangs, end process ${holder.pid}.`,
    );
  return findings.all;
}

/** "serve" ends at once where it cannot know whose release machines boot. */
function judgeEntry(findings: Findings, names: readonly string[], entry: string | undefined): void {
  if (entry !== undefined && names.length > 0 && !names.includes(entry))
    findings.fault(
      'no-such-channel',
      `there is no channel ${entry}; there are ${names.join(', ')}`,
      'Name one of them with --channel, here and where the server is started.',
    );
  if (entry === undefined && names.length > 1)
    findings.warning(
      'entry-not-named',
      `"serve" does not start here without --channel, since there are several: ${names.join(', ')}`,
      'Name the one that machines boot by default with --channel, here and where the server is started.',
    );
}

async function refusedSnapshot(
  name: string,
  {
    snapshot,
    bytes,
    seal,
  }: {
    readonly snapshot: { readonly issued: number };
    readonly bytes: Uint8Array;
    readonly seal: Uint8Array;
  },
  signers: readonly Certificate[],
  now: number,
): Promise<Refusal | undefined> {
  try {
    // As of its own time: when it ends is told with all that ends.
    await verifySnapshot(name, bytes, seal, signers, defaultPolicy(now), snapshot.issued);
    return undefined;
  } catch (error) {
    if (error instanceof Refusal) return error;
    throw error;
  }
}

async function checkRelease(
  findings: Findings,
  { folder, releases }: StateFacts,
  channel: string,
  { release, manifest: wanted }: ChannelRelease,
  { roots, now, http }: StateCheckOptions,
  seen: Set<string>,
): Promise<void> {
  const stored = releases.get(release);
  const back = `Go back to another release: "bootseal channel rollback ${channel} RELEASE", or publish a newer one.`;
  if (!stored) {
    findings.fault('release-gone', `${channel} names ${release}, which is not in the store`, back);
    return;
  }
  if (stored.withdrawal)
    findings.fault(
      'withdrawn-named',
      `${channel} names ${release}, which was withdrawn: ${stored.withdrawal.reason}`,
      back,
    );
  // Several channels may name it.
  if (seen.has(release)) return;
  seen.add(release);
  await judgeSealedAddress(findings, folder, release, http);
  const why = await refusedRelease(folder, release, stored, wanted, roots, now);
  if (why)
    findings.fault(
      why.code === 'absent' ? 'release-incomplete' : 'release-refused',
      `${release}: ${withoutStop(why.message)}`,
      `Find out who changed it, and publish it anew under another version; until then: ${back.charAt(0).toLowerCase()}${back.slice(1)}`,
    );
}

/** Scripts name a place that nobody but their signer changes. */
async function judgeSealedAddress(
  findings: Findings,
  folder: string,
  release: string,
  http: readonly Bound[],
): Promise<void> {
  if (http.length === 0) return;
  const records = new Map<string, Uint8Array>();
  for (const name of [RECORD.bootIpxe, RECORD.grubCfg]) {
    const bytes = await readIfThere(join(folder, 'releases', release, name));
    if (bytes) records.set(name, bytes);
  }
  for (const what of sealedElsewhere(sealedServers(records), http))
    findings.warning(
      'sealed-elsewhere',
      `of ${release}: ${what}`,
      'Serve there, or have something there that hands on to this server; else seal the release with another --url.',
    );
}

async function refusedRelease(
  folder: string,
  release: string,
  { manifest }: StoredRelease,
  wanted: string,
  roots: TrustRoots | undefined,
  now: number,
): Promise<Refusal | undefined> {
  if (manifest instanceof Refusal) return manifest;
  const path = join(folder, 'releases', release);
  for (const file of manifest.files) {
    const found = await lstatIfThere(join(path, file.path));
    if (!found?.isFile()) return new Refusal('absent', `its ${file.path} is missing.`, { path: file.path });
    if (found.size !== file.size)
      return new Refusal(
        'drifted',
        `its ${file.path} has ${found.size} bytes, and its manifest says ${file.size}.`,
        {
          path: file.path,
        },
      );
  }
  if (!roots) return undefined;
  const tree = new FolderTree(path);
  const verifier = new Verifier(await fittingRoots(tree, roots), await readStatePolicy(folder), () => now);
  const { refusal, manifestSha256 } = await verifier.verifyRecords(tree);
  if (refusal && !BY_THE_CLOCK.has(refusal.code)) return refusal;
  if (!refusal && manifestSha256 !== wanted)
    return new Refusal('mixed-releases', 'it is not the one that its channel names.', { release });
  return undefined;
}

async function checkQuarantine(findings: Findings, folder: string): Promise<void> {
  for (const release of await quarantinedReleases(folder)) {
    const why = await readQuarantined(folder, release);
    if (why)
      findings.warning(
        'quarantined',
        `${release} is in quarantine${why.held ? ', and in service all the same' : ''}: ${withoutStop(why.message)}`,
        `Mend what its reason says, then take it back: ${why.command}`.replace(/\.?$/, '.'),
      );
  }
}

async function checkLog(
  findings: Findings,
  folder: string,
  signers: readonly Certificate[],
  now: number,
): Promise<void> {
  const sign = `Have its head signed: "bootseal log sign --state ${folder}", or with --keyholder.`;
  try {
    const { size, waiting } = await auditLog(folder, signers, defaultPolicy(now), undefined, true);
    if (waiting > 0)
      findings.warning('log-unsigned', `${waiting} of the log’s ${size} entries wait for a signature`, sign);
    else findings.ok(`the log holds, its head is signed over ${size === 1 ? '1 entry' : `${size} entries`}`);
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    if (error.code === 'no-verdict') findings.warning('log-unsigned', withoutStop(error.message), sign);
    else
      findings.fault(
        'log-broken',
        withoutStop(error.message),
        `Look at it with "bootseal log check --state ${folder}", and hold it against a checkpoint that somebody else kept.`,
      );
  }
}
