import { join } from 'node:path';
import { readWhole } from '../../files/reading.ts';
import { calledOf } from '../../formats/asn1/certificate-name.ts';
import type { Certificate } from '../../formats/asn1/x509.ts';
import { readIpxeContents } from '../../formats/loader/loader-image.ts';
import { LOADER_FILES } from '../../server/dhcp-loaders.ts';
import { type OfferedLoader, readLoaders } from '../../server/loader-files.ts';
import type { Anchors } from '../../trust/anchors.ts';
import { day } from '../../trust/policy.ts';
import { type Finding, Findings } from './finding.ts';

/** A loader that would be offered, and what was put into it. */
export interface LoaderFacts extends Pick<OfferedLoader, 'name' | 'report'> {
  /** Built into an iPXE. Those of a Secure Boot signature may have ended: firmware has no use for their dates. */
  readonly certificates: readonly Certificate[];
  /** Built into an iPXE. */
  readonly script: string | undefined;
}

export interface LoaderTerms {
  readonly folder: string;
  /** Whether machines are told over DHCP what to load. */
  readonly proxyDhcp: boolean;
  /** Whether a release brings an image that firmware starts by itself. */
  readonly hasUki: boolean;
  /** Where HTTP is served: `10.0.0.1:8080`. */
  readonly http: readonly string[];
  /** Milliseconds since 1970. */
  readonly now: number;
}

export function judgeLoaders(loaders: readonly LoaderFacts[], terms: LoaderTerms): readonly Finding[] {
  const findings = new Findings('loaders');
  judgeCoverage(findings, loaders, terms);
  for (const loader of loaders) judgeLoader(findings, loader, terms);
  return findings.all;
}

function judgeCoverage(
  findings: Findings,
  loaders: readonly LoaderFacts[],
  { folder, proxyDhcp, hasUki }: LoaderTerms,
): void {
  const names = new Set(loaders.map(({ name }) => name));
  const covered = Object.entries(LOADER_FILES).flatMap(([kind, files]) => {
    const file = files.find((name) => names.has(name));
    return file === undefined ? [] : [`${kind} by ${file}`];
  });
  if (hasUki) covered.push('UEFI by uki.efi of a release');
  if (covered.length > 0) {
    findings.ok(`${folder} starts ${covered.join(', ')}`);
    return;
  }
  const found = `no firmware finds a loader by its usual name in ${folder}`;
  const wanted = Object.values(LOADER_FILES).map(([name]) => name);
  const advice = `Put loaders there that trust your anchors (${wanted.join(', ')}): "bootseal loaders grub", or an iPXE of your own.`;
  if (proxyDhcp) findings.fault('no-loader', `${found}, so --proxydhcp tells machines nothing`, advice);
  else findings.warning('no-loader', found, advice);
}

function judgeLoader(
  findings: Findings,
  { name, report, certificates, script }: LoaderFacts,
  terms: LoaderTerms,
): void {
  if (!report) return;
  const said = report.warnings.join('; and it ');
  if (report.ours === false)
    findings.fault(
      'foreign-loader',
      `${name} ${said}, so it refuses what this site seals`,
      'Build it anew with this site’s anchors: "bootseal loaders grub --anchors", or TRUST= of iPXE.',
    );
  else if (said !== '')
    findings.warning(
      'odd-loader',
      `${name} ${said}`,
      'Look whether it is the file that its name says, and for these anchors.',
    );
  if (!report.verifies && report.image.kind !== 'other')
    findings.warning(
      'loader-verifies-nothing',
      `${name} verifies ${report.verification.replace(/^nothing: /, 'nothing: ')}`,
      'Offer a loader that verifies, or live with early userspace as the first that does.',
    );
  for (const certificate of certificates) {
    if (certificate.notAfter >= terms.now) continue;
    findings.fault(
      'expired-inside',
      `${name} holds the certificate of ${calledOf(certificate)}, which ended on ${day(certificate.notAfter)}`,
      'Build or sign the loader anew with a certificate that lasts.',
    );
  }
  const elsewhere = addressIn(script, terms.http);
  if (elsewhere !== undefined)
    findings.fault(
      'loader-elsewhere',
      `the script in ${name} fetches from ${elsewhere}, and the server listens at ${terms.http.join(', ')}`,
      'Serve at that address and port, or build the loader anew with "bootseal loaders embedded --url".',
    );
}

/** An address that an iPXE's script names literally, and where nobody listens. A name may be any address. */
function addressIn(script: string | undefined, http: readonly string[]): string | undefined {
  if (script === undefined || http.length === 0) return undefined;
  for (const [, host = '', port = '80'] of script.matchAll(
    /http:\/\/([0-9]+(?:\.[0-9]+){3})(?::([0-9]+))?/g,
  )) {
    const named = `${host}:${port}`;
    const isHere = http.some((at) => at === named || at === `0.0.0.0:${port}`);
    if (!isHere) return named;
  }
  return undefined;
}

/** Bytes; a larger one holds a system, and is a release's. */
const LOOKED_INTO = 64 * 1024 * 1024;

/**
 * @param pins as in the configuration.
 * @throws Refusal `drifted`, `absent` where the pins say otherwise; IoError.
 */
export async function loaderFacts(
  folder: string,
  pins: Readonly<Record<string, string>>,
  sites: readonly Anchors[],
): Promise<readonly LoaderFacts[]> {
  const all: LoaderFacts[] = [];
  for (const { name, report, size } of (await readLoaders(folder, { pins, sites })).values()) {
    const inside = size > LOOKED_INTO ? undefined : readIpxeContents(await readWhole(join(folder, name)));
    all.push({ name, report, certificates: inside?.certificates ?? [], script: inside?.script });
  }
  return all;
}
