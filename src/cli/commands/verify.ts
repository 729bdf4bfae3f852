import { type Command, InvalidArgumentError } from 'commander';
import { CLIENTS, clientNames } from '../../conformance/client-names.ts';
import type { ClientVerdict } from '../../conformance/clients.ts';
import { isUrl } from '../../conformance/is-url.ts';
import { Refusal } from '../../errors/refusal.ts';
import { UsageError } from '../../errors/usage.ts';
import { isoSeconds } from '../../formats/records/lines.ts';
import { act, files, folders, found, newCommand, time, understood } from '../context.ts';
import { EXIT, statusOf } from '../exit.ts';
import { SUMMARIES } from '../summaries.ts';
import type { Terminal } from '../terminal.ts';
import { SOON_READ, treeProgress } from '../tree-progress.ts';
import { findingJson, showTreeVerdict } from '../verdict.ts';

interface Options {
  readonly anchors?: readonly string[];
  readonly db?: readonly string[];
  readonly dbx?: readonly string[];
  readonly at?: At;
  readonly logAnchors?: string;
  readonly policy?: string;
  readonly as?: string;
}

/** A time on the operator's word, or the path of a log's proof of one. */
type At = { readonly time: number } | { readonly proof: string };

export function verifyCommand(): Command {
  return newCommand('verify', SUMMARIES.verify, 'bootseal verify out/netboot --anchors keys/anchors')
    .argument(
      '<tree|url>',
      'a sealed tree; a server, http://HOST:PORT/; a release’s folder on a mirror; with --as uefi an EFI image',
      target,
    )
    .option('--anchors <dir>', 'what to start from; once for each CA whose loaders it is for', folders)
    .option(
      '--at <time|proof>',
      'the time at which certificates, keys and algorithms are judged, or a log’s proof of one',
      at,
    )
    .option('--log-anchors <file>', 'the certificate of that log; default: snapshot.crt among the anchors')
    .option(
      '--as <clients>',
      `judge as these clients do: ${CLIENTS.join(',')}; or as ${UEFI}, firmware with Secure Boot`,
      understood((text) => text === UEFI || clientNames(text)),
    )
    .option('--db <file>', 'with --as uefi: what the firmware’s db holds, PEM, DER, .esl or .auth', files)
    .option('--dbx <file>', 'and its dbx', files)
    .option('--policy <file>', 'dates, pins and revocations of your own (TOML)')
    .action(
      act<Options>(async ({ terminal, now }, options, tree = '') => {
        const { at: asOf, logAnchors, policy, as } = options;
        if (as === UEFI) return showFirmware(terminal, options, tree);
        if (options.db || options.dbx) throw new UsageError('--db and --dbx go with --as uefi.');
        if (!options.anchors) throw new UsageError('Say what to start from: --anchors DIR.');
        if (!isUrl(tree) && found(tree)?.isFile())
          throw new UsageError(`${tree} is a file: only EFI images are verified as files, with --as uefi.`);
        const { anchors } = options;
        const given = policy === undefined ? {} : { policy };
        if (as !== undefined || isUrl(tree)) {
          if (asOf && 'proof' in asOf)
            throw new UsageError(
              'A log’s proof is about the seals of a tree: it cannot be used with --as or an address.',
            );
          const [only = '', ...others] = anchors;
          if (others.length > 0)
            throw new UsageError(
              'A client has anchors of one CA: name --anchors once with --as or an address.',
            );
          const wanted = {
            ...given,
            ...(as === undefined ? {} : { as: clientNames(as) }),
            ...(asOf === undefined ? {} : { at: asOf.time }),
          };
          const { verifyAs } = await import('../../conformance/verify-as.ts');
          return showClients(terminal, await verifyAs({ target: tree, anchors: only, now, ...wanted }));
        }
        const { verify } = await import('../../conformance/verify.ts');
        const { unverifiedThings, whoVerifies } = await import('../../release/who-verifies.ts');
        const { namesOf, printWhoVerifies } = await import('../who-verifies.ts');
        const bar = treeProgress(terminal, `verifying ${tree}`, SOON_READ);
        const verdict = await verify({
          tree,
          anchors,
          now,
          ...(asOf === undefined ? {} : 'proof' in asOf ? { proof: asOf.proof } : { at: asOf.time }),
          ...(logAnchors === undefined ? {} : { logCertificates: logAnchors }),
          ...given,
          onProgress: bar.update,
        }).finally(bar.stop);
        const { logged } = verdict;
        terminal.json({
          verified: verdict.refusal === undefined,
          release: verdict.manifest?.release,
          logged: logged && {
            proof: asOf && 'proof' in asOf ? asOf.proof : undefined,
            time: isoSeconds(logged.time),
            index: logged.index,
            size: logged.size,
            log: logged.log,
          },
          refusal: verdict.refusal?.toJSON(),
          files: verdict.rows.map(({ path, role, cells }) => ({
            path,
            role,
            checks: Object.fromEntries(
              Object.entries(cells).map(([column, finding]) => [column, findingJson(finding)]),
            ),
          })),
          lint: verdict.lint,
          unjudged: verdict.unjudged,
          whoVerifies: verdict.refusal || !verdict.manifest ? undefined : whoVerifies(verdict.manifest),
        });
        showTreeVerdict(terminal, verdict);
        const { manifest } = verdict;
        if (manifest && !verdict.refusal) {
          printWhoVerifies(terminal, manifest);
          terminal.print();
        }
        if (logged && asOf && 'proof' in asOf)
          terminal.print(
            `Judged as of ${isoSeconds(logged.time)}, by ${asOf.proof}: entry ${logged.index} of ${logged.size} of log ${logged.log}.`,
          );
        if (verdict.refusal) {
          terminal.refused(`REFUSED: ${verdict.refusal.message} [${verdict.refusal.code}]`);
          return EXIT.refused;
        }
        const nobody = manifest ? unverifiedThings(manifest) : [];
        if (nobody.length === 0) terminal.print(`VERIFIED: ${manifest?.release}`, 'good');
        else
          terminal.print(
            `VERIFIED: ${manifest?.release}, as it stands here; on the machine NOBODY verifies ${namesOf(nobody)}.`,
            'bad',
          );
        return EXIT.ok;
      }),
    );
}

/** A time, also where a file is called so. */
function at(text: string): At {
  try {
    return { time: time(text) };
  } catch (error) {
    if (found(text)) return { proof: text };
    if (!(error instanceof InvalidArgumentError)) throw error;
    throw new InvalidArgumentError(`${error.message} There is no proof of that name either.`);
  }
}

function target(text: string): string {
  if (isUrl(text) || found(text)) return text;
  throw new InvalidArgumentError('There is no such folder or image.');
}

/** Firmware is no client of a server: it judges one image, by what is enrolled in it. */
const UEFI = 'uefi';

async function showFirmware(terminal: Terminal, options: Options, path: string): Promise<number> {
  const { verifyUefi } = await import('../../conformance/verify-uefi.ts');
  const { db, dbx, anchors = [], at: asOf, policy, logAnchors } = options;
  if (asOf || policy !== undefined || logAnchors !== undefined) {
    throw new UsageError(
      'Firmware looks at no time and no policy: with --as uefi use --db, --dbx and --anchors alone.',
    );
  }
  if (anchors.length > 1) throw new UsageError('Name --anchors once with --as uefi.');
  if (isUrl(path)) throw new UsageError('--as uefi judges a file or a tree; fetch it first.');
  const [folder] = anchors;
  const {
    target: image,
    refusal,
    verdict,
  } = await verifyUefi({
    target: path,
    ...(folder === undefined ? {} : { anchors: folder }),
    ...(db ? { db } : {}),
    ...(dbx ? { dbx } : {}),
  });
  terminal.json({ verified: !refusal, image, refusal: refusal?.toJSON(), ...verdict });
  if (refusal) {
    terminal.refused(`REFUSED: ${refusal.message} [${refusal.code}]`);
    return EXIT.refused;
  }
  const by =
    verdict?.signer === undefined
      ? 'its digest is in db'
      : `signed by ${verdict.signer}, by ${verdict.by} in db`;
  terminal.print(`VERIFIED: ${image}, ${by}; no date was looked at, as firmware looks at none.`, 'good');
  return EXIT.ok;
}

/** One row a client. */
async function showClients(terminal: Terminal, verdicts: readonly ClientVerdict[]): Promise<number> {
  const { namesOf } = await import('../who-verifies.ts');
  const asked = verdicts.filter(({ asked }) => asked);
  // A verdict that nobody gave is none.
  const refusal =
    asked.length > 0
      ? asked.find(({ refusal }) => refusal)?.refusal
      : new Refusal('no-verdict', 'This release starts none of these clients, so nobody judged it.', {});
  terminal.json({
    verified: refusal === undefined,
    clients: verdicts.map(({ refusal: no, ...verdict }) => ({ ...verdict, refusal: no?.toJSON() })),
  });
  terminal.table(
    ['client', 'verdict', 'why'],
    verdicts.map(({ client, asked, refusal }) => [
      { text: client },
      !asked
        ? { text: 'not asked', style: 'dim' }
        : refusal
          ? { text: refusal.code, style: 'bad' }
          : { text: 'verified', style: 'good' },
      { text: refusal?.message ?? '', style: 'dim' },
    ]),
  );
  terminal.print();
  for (const { client, warnings } of verdicts) {
    for (const warning of warnings) terminal.print(`${client} ${warning}.`, 'dim');
  }
  if (!refusal) {
    const by = `VERIFIED by ${asked.map(({ client }) => client).join(', ')}`;
    const nobody = verdicts.find(({ unverified = [] }) => unverified.length > 0)?.unverified ?? [];
    if (nobody.length === 0) terminal.print(`${by}.`, 'good');
    else terminal.print(`${by}; on the machine NOBODY verifies ${namesOf(nobody)}.`, 'bad');
    return EXIT.ok;
  }
  terminal.refused(`REFUSED: ${refusal.message} [${refusal.code}]`);
  return statusOf(refusal);
}
