import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { cpSync, mkdirSync, readdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { SOCKET_NAMES } from '../../src/serve/handed.ts';
import { openState } from '../../src/store/state.ts';
import { readFormat } from '../../src/store/state-format.ts';
import { run } from '../cli/command.ts';
import { temporaryFolder } from '../fixtures/folder.ts';

const packaging = fileURLToPath(new URL('../../../packaging', import.meta.url));
const UNITS = readdirSync(join(packaging, 'systemd'));
const SERVICES = UNITS.filter((name) => name.endsWith('.service'));
const text = (name: string): string => readFileSync(join(packaging, 'systemd', name), 'utf8');
/** What a unit says for a key, each time that it does. */
const said = (name: string, key: string): string[] =>
  [...text(name).matchAll(new RegExp(`^${key}=(.*)$`, 'gm'))].map(([, value = '']) => value);

interface Ran {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

function tool(program: string, words: readonly string[]): Promise<Ran> {
  return new Promise((resolve) => {
    execFile(program, [...words], { env: { ...process.env, SYSTEMD_COLORS: '0' } }, (error, out, err) => {
      resolve({ code: error === null ? 0 : Number(error.code ?? -1), out, err });
    });
  });
}

/** A system with systemd's own units, ours, and a program at our program's place. */
async function installed(): Promise<string> {
  const root = await temporaryFolder();
  const units = join(root, 'usr/lib/systemd/system');
  cpSync('/usr/lib/systemd/system', units, { recursive: true, verbatimSymlinks: true });
  symlinkSync('usr/lib', join(root, 'lib'));
  for (const name of UNITS) cpSync(join(packaging, 'systemd', name), join(units, name));
  for (const folder of ['etc', 'var/lib', 'usr/bin']) mkdirSync(join(root, folder), { recursive: true });
  writeFileSync(join(root, 'usr/bin/bootseal'), '#!/bin/sh\n', { mode: 0o755 });
  return root;
}

const root = await installed();

describe('units, by systemd-analyze', () => {
  for (const name of UNITS) {
    it(`${name} says nothing that is not understood`, async () => {
      // A template is judged as one of its instances.
      const unit = name.replace('@.', '@stable.');
      const { code, out, err } = await tool('systemd-analyze', [
        'verify',
        '--man=no',
        `--root=${root}`,
        unit,
      ]);
      assert.deepEqual([code, out, err], [0, '', '']);
    });
  }

  it('would tell of one that says something else', async () => {
    const unit = join(root, 'usr/lib/systemd/system/bootseal-wrong.service');
    writeFileSync(unit, `${text('bootseal.service')}\n[Service]\nProtectEverything=yes\n`);
    const words = ['verify', '--man=no', `--root=${root}`, 'bootseal-wrong.service'];
    const { err } = await tool('systemd-analyze', words);
    assert.match(err, /Unknown key (name )?'ProtectEverything'/);
  });

  for (const name of SERVICES) {
    it(`${name} is exposed by less than 2.0`, async () => {
      const path = join(packaging, 'systemd', name);
      const words = ['security', '--offline=true', '--no-pager', '--threshold=19', path];
      const { code, out, err } = await tool('systemd-analyze', words);
      assert.equal(code, 0, out + err);
      assert.match(out, /Overall exposure level for \S+: [01]\.\d /);
      // V8 aborts.
      assert.deepEqual(said(name, 'MemoryDenyWriteExecute'), []);
      assert.deepEqual([said(name, 'CapabilityBoundingSet'), said(name, 'NoNewPrivileges')], [[''], ['yes']]);
    });
  }
});

describe('units, and what they name', () => {
  for (const name of SERVICES) {
    it(`${name} gives the program flags that it has`, async () => {
      const [line = ''] = said(name, 'ExecStart');
      const [program, ...words] = line.split(' ');
      assert.equal(program, '/usr/bin/bootseal');
      const end = words.findIndex((word) => /^[-$%/]/.test(word));
      const { code, out } = await run([...words.slice(0, end), '--help']);
      assert.equal(code, 0);
      const flags = words.filter((word) => word.startsWith('--'));
      assert.ok(flags.length > 0);
      for (const flag of flags) assert.match(out, new RegExp(`^  ${flag} `, 'm'));
    });

    it(`${name} runs as users that sysusers.d makes, and not as root`, async () => {
      const users = readFileSync(join(packaging, 'sysusers.d/bootseal.conf'), 'utf8');
      const named = ['User', 'Group', 'SupplementaryGroups'].flatMap((key) => said(name, key));
      assert.ok(named.length >= 2);
      for (const user of named) assert.match(users, new RegExp(`^u ${user} `, 'm'));
    });
  }

  it('sockets have names that the server knows, and each goes to it', () => {
    const sockets = UNITS.filter((name) => name.endsWith('.socket'));
    assert.deepEqual(sockets.map((name) => said(name, 'FileDescriptorName')).sort(), [
      ['dhcp'],
      ['http'],
      ['https'],
      ['nbd'],
      ['syslog'],
      ['tftp'],
    ]);
    for (const name of sockets) {
      const [own = ''] = said(name, 'FileDescriptorName');
      assert.ok((SOCKET_NAMES as readonly string[]).includes(own));
      assert.deepEqual(said(name, 'Service'), ['bootseal.service']);
      const kinds = ['http', 'https', 'nbd'].includes(own) ? 'ListenStream' : 'ListenDatagram';
      assert.ok(said(name, kinds).length > 0);
    }
    // What a server says of a refusal, and of a mistake of the operator's, is not said again and again.
    assert.deepEqual(said('bootseal.service', 'RestartPreventExitStatus'), ['1 2']);
  });
});

describe('users and folders, by the tools that make them', () => {
  it('are what the units need', async () => {
    const users = await tool('systemd-sysusers', [
      `--root=${root}`,
      join(packaging, 'sysusers.d/bootseal.conf'),
    ]);
    assert.equal(users.code, 0, users.err);
    const passwd = readFileSync(join(root, 'etc/passwd'), 'utf8');
    const uidOf = (name: string): number =>
      Number(new RegExp(`^${name}:[^:]*:(\\d+):`, 'm').exec(passwd)?.[1]);
    assert.match(passwd, /^bootseal-keyholder:.*:\/usr\/sbin\/nologin$/m);
    const folders = await tool('systemd-tmpfiles', [
      '--create',
      `--root=${root}`,
      join(packaging, 'tmpfiles.d/bootseal.conf'),
    ]);
    assert.deepEqual([folders.code, folders.err], [0, '']);
    for (const [path, owner, mode] of [
      ['etc/bootseal/anchors', 0, 0o755],
      ['etc/bootseal/snapshot/private', uidOf('bootseal-keyholder'), 0o700],
      ['var/lib/bootseal', uidOf('bootseal-keyholder'), 0o755],
      ['var/lib/bootseal/boots', uidOf('bootseal'), 0o755],
      ['etc/bootseal/bootseal.toml', 0, 0o644],
    ] as const) {
      const facts = statSync(join(root, path));
      assert.deepEqual([path, facts.uid, facts.mode & 0o7777], [path, owner, mode]);
    }
    // It becomes a state.
    const state = join(root, 'var/lib/bootseal');
    assert.equal(await readFormat(state), undefined);
    await (await openState(state)).release();
    assert.equal(await readFormat(state), 1);
  });

  it('leave a configuration alone that is there', async () => {
    const path = join(root, 'etc/bootseal/bootseal.toml');
    writeFileSync(path, 'scrub_hours = 1\n');
    await tool('systemd-tmpfiles', [
      '--create',
      `--root=${root}`,
      join(packaging, 'tmpfiles.d/bootseal.conf'),
    ]);
    assert.equal(readFileSync(path, 'utf8'), 'scrub_hours = 1\n');
  });
});
