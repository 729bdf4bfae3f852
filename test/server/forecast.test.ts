import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { cp, mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { decodeCertificate } from '../../src/formats/asn1/x509.ts';
import { applyMachines } from '../../src/publish/channel.ts';
import { publish } from '../../src/publish/publish.ts';
import { type ForecastItem, forecast } from '../../src/server/forecast.ts';
import type { OfferedLoader } from '../../src/server/loader-files.ts';
import type { Offering } from '../../src/server/offering.ts';
import { stateSource } from '../../src/server/state-source.ts';
import { treeSource } from '../../src/server/tree-source.ts';
import { delegateBootLeaves } from '../../src/signing/keys/delegate.ts';
import { readScriptKeys } from '../../src/signing/keys/script-keys.ts';
import { readyKeyPair } from '../fixtures/ready-keys.ts';
import { DAY, fingerprint, fresh, idOf, LATER, newCa, old, sealed } from '../operations/rotation.ts';
import { openssl } from '../signing/judges.ts';

const tree = await sealed(old, old);
const state = fresh('state');
await publish({ tree, state, anchors: old, channel: 'stable', now: LATER, rsaBits: 2048 });
const clock = () => LATER;
const ofState = await stateSource({ state, anchors: old, clock, onRefused: () => {} }).load();
const ofTree = (folder: string, anchors?: readonly string[]): Promise<Offering> =>
  treeSource({ tree: folder, anchors, clock }).load();
const kinds = (items: readonly ForecastItem[]) => items.map(({ kind }) => kind);
const only = (items: readonly ForecastItem[], kind: string): ForecastItem => {
  const found = items.filter((item) => item.kind === kind);
  assert.equal(found.length, 1, kind);
  return found[0] as ForecastItem;
};

/** A folder of keys that may be changed. */
async function copied(keys: string): Promise<string> {
  const copy = fresh('keys');
  await cp(keys, copy, { recursive: true });
  return copy;
}

describe('what ends when, as a server knows it', () => {
  it('tells of everything that is offered, what ends first first, in words', () => {
    const items = forecast({ offering: ofState }, LATER);
    assert.deepEqual(
      items.map(({ kind, daysLeft }) => [kind, daysLeft]),
      [
        ['snapshot', 7],
        ['best-before', 90],
        ['release', 190],
        ['boot', 720],
        ['codesign', 720],
        ['manifest', 720],
        ['ca', 3642],
        ['snapshot key', 3652],
        ['openpgp', undefined],
        ['openpgp-manifest', undefined],
        ['openpgp-script', undefined],
      ],
    );
    assert.deepEqual(only(items, 'codesign').usedBy, ['arch/2026.11.01']);
    assert.match(only(items, 'snapshot').effect, /take it for stale until "bootseal channel renew stable"/);
    assert.match(only(items, 'best-before').effect, /^bootseal serves arch\/2026\.11\.01 no more/);
    assert.ok(items.every(({ due, effect }) => !due && /^.*[^.]\.$/.test(effect)));
  });

  it('names the day that openssl prints for the very certificate', () => {
    const items = forecast({ offering: ofState }, LATER);
    const path = join(old, 'anchors', 'codesign.crt');
    const { id, ends } = only(items, 'codesign');
    assert.equal(id, fingerprint(path).slice(0, 16));
    const printed = openssl('x509', '-in', path, '-noout', '-enddate').stdout;
    assert.equal(ends, Date.parse(printed.replace(/^notAfter=/, '')));
    const key = join(state, 'anchors', 'snapshot.crt');
    assert.equal(only(items, 'snapshot key').id, fingerprint(key).slice(0, 16));
  });

  it('is due in the last days, and stays so', () => {
    const due = (days: number) =>
      kinds(forecast({ offering: ofState }, LATER + days * DAY).filter((item) => item.due));
    assert.deepEqual(due(4), []);
    assert.deepEqual(due(5), ['snapshot']);
    assert.deepEqual(due(60), ['snapshot', 'best-before']);
    assert.equal(only(forecast({ offering: ofState }, LATER + 9 * DAY), 'snapshot').daysLeft, -2);
  });

  it('knows both CAs of an overlap, and who needs which', async () => {
    const both = await ofTree(await sealed(newCa, newCa, [old]), [newCa, old]);
    const items = forecast({ offering: both }, LATER);
    const ids = items.filter(({ kind }) => kind === 'ca').map(({ id }) => id);
    assert.deepEqual(ids.sort(), [idOf(old), idOf(newCa)].sort());
    assert.equal(kinds(items).filter((kind) => kind === 'boot').length, 2);
    assert.equal(kinds(items).filter((kind) => kind === 'release').length, 2);
  });

  it('tells of a tree without anchors what its seals carry', async () => {
    const items = forecast({ offering: await ofTree(tree) }, LATER);
    assert.deepEqual(kinds(items), ['best-before', 'release', 'boot', 'ca']);
  });

  it('tells the last day of a loader that trusts our CAs alone, and of no other', async () => {
    const ca = fingerprint(join(old, 'anchors', 'ca.crt'));
    const loader = (name: string, ipxe: object) =>
      [
        name,
        { name, sha256: '5'.repeat(64), report: { image: { ipxe } } } as unknown as OfferedLoader,
      ] as const;
    const loaders = new Map([
      loader('ours.efi', { imgverify: true, ownRoot: false, roots: [ca] }),
      loader('stranger.efi', { imgverify: true, ownRoot: false, roots: [ca, '0'.repeat(64)] }),
      loader('stock.efi', { imgverify: true, ownRoot: true, roots: [] }),
      loader('plain.efi', { imgverify: false, ownRoot: false, roots: [ca] }),
    ]);
    const items = forecast({ offering: ofState, loaders }, LATER);
    const item = only(items, 'loader');
    assert.equal(item.name, 'ours.efi');
    assert.equal(item.ends, only(items, 'ca').ends);
    assert.match(
      item.effect,
      /^ours\.efi starts nothing more, since it trusts netboot CA lab and that has ended/,
    );
  });

  it('knows the leaf of a day that the scripts of machines are signed by, and the one that takes its place', async () => {
    const own = fresh('state');
    const given = { state: own, anchors: old, channel: 'stable', snapshotKey: old };
    await publish({ ...given, tree, now: LATER });
    await mkdir(join(own, 'machines'));
    await writeFile(
      join(own, 'machines', 'all.toml'),
      '[[machine]]\nname = "a"\nmac = "52:54:00:00:00:0a"\ngets = { boot = "hold" }\n',
    );
    const days = fresh('days');
    await delegateBootLeaves({
      ...{ keys: old, out: days, days: 2, from: LATER, now: LATER, rsaBits: 2048 },
      makeKeyPair: readyKeyPair,
    });
    let now = LATER;
    const source = stateSource({ state: own, anchors: old, clock: () => now, onRefused: () => {} });
    const items = async () => forecast({ offering: await source.load() }, now);
    assert.ok(!kinds(await items()).includes('scripts'));
    const sign = async (day: string) => {
      const keys = await copied(old);
      for (const file of ['anchors/boot.crt', 'private/boot.key'])
        await cp(join(days, day, file), join(keys, file));
      await applyMachines({ ...given, now, scriptKeys: await readScriptKeys(keys, now) });
    };
    await sign('2026-11-11');
    const first = only(await items(), 'scripts');
    assert.equal(first.id, fingerprint(join(days, '2026-11-11', 'anchors', 'boot.crt')).slice(0, 16));
    assert.equal(first.ends, LATER + DAY);
    assert.equal(first.due, false);
    assert.match(first.effect, /refuses the scripts of machines that stable names: .* signed them anew\.$/);
    now = LATER + DAY - 1000;
    assert.equal(only(await items(), 'scripts').due, true);
    now = LATER + DAY + 1000;
    await sign('2026-11-12');
    const second = only(await items(), 'scripts');
    assert.equal(second.id, fingerprint(join(days, '2026-11-12', 'anchors', 'boot.crt')).slice(0, 16));
    assert.deepEqual([second.ends, second.due], [LATER + 2 * DAY, false]);
  });

  it("tells the last day of the server's own certificate", () => {
    const path = join(old, 'anchors', 'boot.crt');
    const pem = readFileSync(path, 'latin1');
    const tls = decodeCertificate(Buffer.from(pem.replace(/-----[A-Z ]+-----|\s/g, ''), 'base64'));
    const item = only(forecast({ offering: ofState, tls }, LATER), 'tls');
    assert.match(item.effect, /refuses its certificate, .* until it is given a new one/);
  });
});
