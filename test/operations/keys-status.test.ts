import assert from 'node:assert/strict';
import { cp, mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { generateKey } from 'openpgp';
import { type KeysStatus, keysStatus } from '../../src/operations/keys-status.ts';
import { publish } from '../../src/publish/publish.ts';
import type { StatusItem } from '../../src/trust/endings.ts';
import { NOW } from '../fixtures/keys.ts';
import { openssl } from '../signing/judges.ts';
import {
  anchors,
  copyOf,
  DAY,
  fingerprint,
  fresh,
  idOf,
  LATER,
  leaves,
  newCa,
  old,
  sealed,
} from './rotation.ts';

const tree = await sealed(old, old);
const find = ({ items }: KeysStatus, kind: string, usedBy?: string): StatusItem => {
  const item = items.find(
    (one) => one.kind === kind && (usedBy === undefined || one.usedBy.includes(usedBy)),
  );
  assert.ok(item, `${kind} is listed`);
  return item;
};
/** 90 days after `LATER`. */
const BEST_BEFORE = LATER + 90 * DAY;

describe('keys status', () => {
  it('lists each certificate with the dates and the fingerprint that openssl prints', async () => {
    const status = await keysStatus({ anchors: [old], trees: [tree], now: LATER });
    for (const [kind, file] of [
      ['ca', 'ca.crt'],
      ['codesign', 'codesign.crt'],
      ['boot', 'boot.crt'],
      ['manifest', 'manifest.crt'],
      ['snapshot key', 'snapshot.crt'],
    ] as const) {
      const path = anchors(old, file);
      const { id, begins, ends } = find(status, kind);
      assert.equal(id, fingerprint(path).slice(0, 16), kind);
      const printed = openssl('x509', '-in', path, '-noout', '-dates').stdout;
      const dates = [...printed.matchAll(/=(.*)$/gm)].map(([, date = '']) => Date.parse(date));
      assert.deepEqual([begins, ends], dates, kind);
    }
  });

  it('begins with what ends first, and ends with what never does', async () => {
    const { items, next, due } = await keysStatus({ anchors: [old], trees: [tree], now: LATER });
    assert.deepEqual(
      items.map(({ kind, ends }) => [kind, ends === undefined ? undefined : (ends - NOW) / DAY]),
      [
        ['best-before', 100],
        ['release', 200],
        ['boot', 730],
        ['codesign', 730],
        ['manifest', 730],
        ['ca', 3652],
        ['snapshot key', 3652],
        ['openpgp', undefined],
        ['openpgp-manifest', undefined],
        ['openpgp-script', undefined],
      ],
    );
    assert.equal(next?.kind, 'best-before');
    assert.equal(next?.daysLeft, 90);
    assert.deepEqual(due, []);
  });

  it('says in words what stops, where, and what to do', async () => {
    const status = await keysStatus({ anchors: [old], trees: [tree], now: LATER });
    for (const [kind, says] of [
      ['ca', /no machine whose loader trusts it starts any release .* new CA/],
      [
        'codesign',
        /archiso's early userspace.* refuse the root image of arch\/2026\.11\.01: machines stop after the kernel/,
      ],
      [
        'manifest',
        /refuses the manifest of arch\/2026\.11\.01, .* its records are signed by a new manifest leaf/,
      ],
      [
        'boot',
        /iPXE refuses boot\.ipxe of arch\/2026\.11\.01: .* until boot\.ipxe is sealed anew with a new boot leaf/,
      ],
      ['release', /iPXE refuses kernel and initrds of arch\/2026\.11\.01/],
      ['openpgp', /GRUB, which knows no expiry, goes on/],
      ['best-before', /bootseal serves arch\/2026\.11\.01 no more/],
    ] as const) {
      assert.match(find(status, kind).effect, says);
    }
  });

  it('is due from warn-days before the end on, and in the last third of a short life', async () => {
    const due = async (now: number, warnDays?: number) =>
      (
        await keysStatus({
          anchors: [old],
          trees: [tree],
          now,
          ...(warnDays === undefined ? {} : { warnDays }),
        })
      ).due
        .map(({ kind }) => kind)
        .sort();
    assert.deepEqual(await due(BEST_BEFORE - 30 * DAY - 1), []);
    assert.deepEqual(await due(BEST_BEFORE - 30 * DAY), ['best-before']);
    assert.deepEqual(await due(BEST_BEFORE - 30 * DAY, 29), []);
    assert.deepEqual(await due(BEST_BEFORE - 80 * DAY, 365), []);
    assert.deepEqual(await due(BEST_BEFORE + 1, 0), ['best-before']);
    assert.deepEqual(await due(NOW + 730 * DAY, 0), [
      'best-before',
      'boot',
      'codesign',
      'manifest',
      'release',
    ]);
    assert.deepEqual(await due(NOW - 2 * DAY, 0), [
      'best-before',
      'boot',
      'ca',
      'codesign',
      'manifest',
      'openpgp',
      'openpgp-manifest',
      'openpgp-script',
      'release',
    ]);
  });

  it('looks at the anchors alone where nothing else is given', async () => {
    const { items, due } = await keysStatus({ anchors: [old], now: NOW + 731 * DAY });
    assert.deepEqual(items.map(({ kind }) => kind).sort(), [
      'boot',
      'ca',
      'codesign',
      'manifest',
      'openpgp',
      'openpgp-manifest',
      'openpgp-script',
      'snapshot key',
    ]);
    assert.deepEqual(due.map(({ kind }) => kind).sort(), ['boot', 'codesign', 'manifest']);
  });

  it('tells days past the end by negative ones', async () => {
    const status = await keysStatus({ anchors: [old], trees: [tree], now: BEST_BEFORE + DAY });
    assert.equal(find(status, 'best-before').daysLeft, -1);
    assert.equal(status.next?.kind, 'release');
  });

  it('takes a key that is being replaced for one in use only where something given was signed by it', async () => {
    const used = async (...trees: string[]) => {
      const { items } = await keysStatus({ anchors: [leaves], trees, now: LATER });
      const of = (kind: string) =>
        items.filter((item) => item.kind === kind && item.inUse).map(({ id }) => id);
      return [of('codesign').length, of('manifest').length, of('openpgp').length];
    };
    assert.deepEqual(await used(), [1, 1, 1]);
    assert.deepEqual(await used(await sealed(leaves, leaves)), [1, 1, 1]);
    assert.deepEqual(await used(await sealed(leaves, old)), [2, 2, 2]);
  });

  it('lists what each CA of an overlap needs, also where its anchors were not given', async () => {
    const both = await sealed(newCa, newCa, [old]);
    const status = await keysStatus({ anchors: [newCa], trees: [both], now: LATER });
    const ids = (kind: string) => status.items.filter((item) => item.kind === kind).map(({ id }) => id);
    assert.deepEqual(ids('ca').sort(), [idOf(old), idOf(newCa)].sort());
    assert.equal(ids('boot').length, 2);
    assert.equal(ids('release').length, 2);
    assert.ok(status.items.filter(({ kind }) => kind === 'release').every(({ inUse }) => inUse));
  });

  it('knows when an OpenPGP key ends', async () => {
    const folder = fresh('keys');
    await cp(old, folder, { recursive: true });
    const { publicKey } = await generateKey({
      type: 'rsa',
      rsaBits: 2048,
      userIDs: [{ name: 'Somebody' }],
      subkeys: [],
      date: new Date(NOW),
      keyExpirationTime: (50 * DAY) / 1000,
      format: 'object',
    });
    await writeFile(anchors(folder, 'pubring.gpg'), publicKey.write());
    const { items, due } = await keysStatus({ anchors: [folder], now: NOW + 40 * DAY, warnDays: 11 });
    const [item] = items.filter(({ kind }) => kind === 'openpgp');
    assert.equal(item?.ends, NOW + 50 * DAY);
    assert.equal(item?.id, publicKey.getFingerprint().slice(-16));
    assert.deepEqual(
      due.map(({ kind }) => kind),
      ['openpgp'],
    );
  });

  it('follows the channels of a state to their releases, and tells when a snapshot ends', async () => {
    const state = fresh('state');
    const { moved } = await publish({
      tree,
      state,
      anchors: old,
      channel: 'stable',
      now: LATER,
      rsaBits: 2048,
    });
    const at = (days: number) => keysStatus({ anchors: [old], state, now: LATER + days * DAY });
    const status = await at(0);
    assert.equal(find(status, 'snapshot').ends, LATER + 7 * DAY);
    assert.match(find(status, 'snapshot').effect, /bootseal channel renew stable/);
    assert.deepEqual(find(status, 'best-before').usedBy, ['arch/2026.11.01']);
    assert.equal(find(status, 'snapshot key', 'stable').id, moved?.fingerprint.slice(0, 16));
    assert.deepEqual(status.due, []);
    assert.deepEqual(
      (await at(5)).due.map(({ kind }) => kind),
      ['snapshot'],
    );
  });

  it('refuses what is no sealed tree, and a state without channels', async () => {
    const broken = await copyOf(sealed(old, old));
    await rm(join(broken, 'boot.ipxe.sig'));
    const ask = (request: object) => keysStatus({ anchors: [old], now: LATER, ...request });
    await assert.rejects(ask({ trees: [broken] }), {
      code: 'absent',
      message: /boot\.ipxe\.sig does not exist/,
    });
    await writeFile(join(broken, 'boot.ipxe.sig'), 'nonsense');
    await assert.rejects(ask({ trees: [broken] }), { code: 'malformed' });
    await assert.rejects(ask({ state: broken }), /^UsageError: .*no "format"/);
    const empty = join(broken, 'empty');
    await mkdir(empty);
    await assert.rejects(ask({ state: empty }), { name: 'UsageError', message: /no channel/ });
    await assert.rejects(ask({ anchors: [tree] }), { code: 'absent', message: /ca\.crt/ });
  });
});
