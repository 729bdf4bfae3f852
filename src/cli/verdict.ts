import type { VerifyResult } from '../conformance/verify.ts';
import type { RootSeen, VerityReport } from '../emulator/early/verity.ts';
import type { MachineVerdict } from '../emulator/machine-verdict.ts';
import { UKI } from '../formats/records/seal-names.ts';
import type { Finding } from '../trust/verify.ts';
import type { Cell } from './table.ts';
import { octets, type Terminal } from './terminal.ts';

/** Verdict tables: one row an artifact, one column a check. */

const NOTHING: Cell = { text: '–', style: 'dim' };

function cell(finding: Finding | undefined): Cell {
  if (!finding) return NOTHING;
  return finding.verified
    ? { text: 'verified', style: 'good' }
    : { text: finding.refusal.code, style: 'bad' };
}

const TREE_COLUMNS = ['ipxe', 'cms', 'openpgp', 'checksum', 'manifest', 'verity'] as const;

export function showTreeVerdict(terminal: Terminal, verdict: VerifyResult): void {
  const header = ['file', 'role', 'iPXE CMS', 'early CMS', 'OpenPGP', 'checksum', 'manifest', 'verity'];
  const hasUki = verdict.rows.some(({ cells }) => cells.uefi);
  terminal.table(
    [...header, ...(hasUki ? ['Secure Boot'] : [])],
    verdict.rows.map(({ path, role, cells }) => [
      { text: path },
      { text: role, style: 'dim' },
      ...TREE_COLUMNS.map((column) => cell(cells[column])),
      ...(hasUki ? [cell(cells.uefi)] : []),
    ]),
  );
  terminal.print();
  for (const { path, cells } of verdict.rows) {
    const said = new Set<string>();
    for (const finding of Object.values(cells)) {
      // Said each time, table or not: a pin is a hole that somebody dug on purpose.
      if (finding.verified && finding.evidence.remark !== undefined)
        terminal.print(`${path}: ${finding.evidence.remark}`, 'bad');
      if (!finding.verified && !said.has(finding.refusal.message)) {
        said.add(finding.refusal.message);
        terminal.print(`${path}: ${finding.refusal.message} [${finding.refusal.code}]`, 'bad');
      }
    }
  }
  for (const { script, line, rule, message } of verdict.lint)
    terminal.print(`${script}, line ${line}: ${message} [${rule}]`, 'bad');
  for (const script of verdict.unjudged)
    terminal.print(
      script === UKI
        ? `${script} was not judged: that needs a db.crt among the --anchors.`
        : `${script} was not judged: it is for the loaders of another CA, whose --anchors were not given.`,
      'dim',
    );
}

function rootLine(root: RootSeen): string {
  if (root.fileSystem === 'unknown')
    return 'The image is no squashfs: its first and its last block were read.';
  const { compressor, unread, name } = root;
  if (unread !== undefined)
    return `Root: squashfs, ${compressor}, read until a block that was not unpacked (${unread}).`;
  return `Root: squashfs, ${compressor}${name === undefined ? ', without a PRETTY_NAME' : `: ${name}`}.`;
}

/** What early userspace checks of the root image, and the column's title. */
const RAM_COLUMNS = [
  ['manifest', 'manifest'],
  ['checksum', 'checksum'],
  ['openpgp', 'OpenPGP'],
  ['cms', 'CMS'],
] as const;
const VERITY_COLUMNS = [
  ['manifest', 'manifest'],
  ['cms', 'root hash CMS'],
  ['verity', 'blocks read'],
] as const;

export function showBootVerdict(terminal: Terminal, verdict: MachineVerdict): void {
  if (verdict.rows.length === 0) return;
  const columns = verdict.mode === 'verity' ? VERITY_COLUMNS : RAM_COLUMNS;
  const loaderTitle = verdict.loader === 'secure-boot' ? 'firmware (db)' : 'loader (iPXE CMS)';
  const header = ['artifact', 'role', loaderTitle, ...columns.map(([, title]) => title)];
  terminal.table(
    header,
    verdict.rows.map(({ artifact, role, findings, note }) => {
      const early = (check: Finding['check']) =>
        role === 'rootfs' ? cell(findings.find((finding) => finding.check === check)) : NOTHING;
      const loader: Cell =
        role === 'rootfs'
          ? NOTHING
          : findings[0]
            ? cell(findings[0])
            : { text: note ?? 'not verified', style: 'bad' };
      return [
        { text: artifact },
        { text: role, style: 'dim' },
        loader,
        ...columns.map(([check]) => early(check)),
      ];
    }),
  );
  terminal.print();
  if (verdict.verity) showVerity(terminal, verdict.verity);
}

/** What a root under dm-verity took. */
function showVerity(
  terminal: Terminal,
  { rootHash, signer, image, tree, requests, root }: VerityReport,
): void {
  const needed = `${octets(image.fetched + tree.fetched)} of ${octets(image.size + tree.size)}`;
  terminal.print(`Mode verity: root hash ${rootHash}, sealed by ${signer}.`);
  terminal.print(
    `Read ${needed} in ${requests} requests: ${octets(image.fetched)} of ${image.path}, ${octets(tree.fetched)} of its hash tree.`,
  );
  if (root) terminal.print(rootLine(root));
  terminal.print();
}

/** A finding for machines. */
export function findingJson(finding: Finding): unknown {
  return finding.verified
    ? {
        check: finding.check,
        verified: true,
        signer: finding.evidence.signer,
        remark: finding.evidence.remark,
      }
    : { check: finding.check, verified: false, refusal: finding.refusal.toJSON() };
}
