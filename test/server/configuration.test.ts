import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { UsageError } from '../../src/errors/usage.ts';
import { readConfiguration } from '../../src/server/configuration.ts';
import { temporaryFolder } from '../fixtures/folder.ts';

const folder = await temporaryFolder();
const path = join(folder, 'serve.toml');

describe('what the configuration says of DHCP', () => {
  it('is read, and is nothing where nothing is said', async () => {
    await writeFile(path, '');
    assert.deepEqual((await readConfiguration(path)).proxydhcp, {
      ...{ relays: [], networks: [], tftp_at_once: false, loaders: {} },
    });
    await writeFile(
      path,
      `[proxydhcp]
       relays = ["10.20.0.1"]
       networks = ["10.20.0.0/16"]
       site_port = 80
       tftp_at_once = true
       [proxydhcp.loaders]
       x64 = "folder/own.efi"
       raspberry-pi = false`,
    );
    assert.deepEqual((await readConfiguration(path)).proxydhcp, {
      ...{ relays: ['10.20.0.1'], networks: ['10.20.0.0/16'], site_port: 80, tftp_at_once: true },
      loaders: { x64: 'folder/own.efi', 'raspberry-pi': false },
    });
  });

  for (const wrong of [
    'relays = ["relay.example.net"]',
    'relays = ["fd00::1"]',
    'networks = ["10.20.0.1/16"]',
    'site_port = 0',
    'site_port = "80"',
    'tftp_at_once = "yes"',
    'loaders = { x86 = "own.efi" }',
    'loaders = { x64 = true }',
    'loaders = { x64 = "../own.efi" }',
    'loaders = { x64 = "/own.efi" }',
    'loaders = { x64 = "own\\u000aefi" }',
    'interface = "eth0"',
  ]) {
    it(`is not taken where it says ${wrong}`, async () => {
      await writeFile(path, `[proxydhcp]\n${wrong}\n`);
      await assert.rejects(readConfiguration(path), UsageError);
    });
  }
});

describe('what the configuration says of syslog', () => {
  it('is a port, and nothing is heard where nothing is said', async () => {
    await writeFile(path, '');
    assert.equal((await readConfiguration(path)).syslog, undefined);
    for (const port of [0, 514]) {
      await writeFile(path, `[syslog]\nport = ${port}\n`);
      assert.deepEqual((await readConfiguration(path)).syslog, { port });
    }
    for (const wrong of ['', 'port = -1', 'port = 65536', 'port = "514"', 'port = 514\nfrom = "all"']) {
      await writeFile(path, `[syslog]\n${wrong}\n`);
      await assert.rejects(readConfiguration(path), UsageError, wrong);
    }
  });
});

describe('what the configuration says of the API and of HTTPS', () => {
  it('is read, and is open and without TLS where nothing is said', async () => {
    await writeFile(path, '');
    const { api, tls } = await readConfiguration(path);
    assert.deepEqual([api, tls], [{ read: 'open', hosts: [] }, undefined]);
    await writeFile(
      path,
      `[api]
       read = "token"
       metrics = "open"
       hosts = ["netboot.example.net", "netboot"]
       [tls]
       certificate = "tls/fullchain.pem"
       key = "/run/credentials/bootseal.service/tls.key"`,
    );
    const said = await readConfiguration(path);
    assert.deepEqual(said.api, { read: 'token', metrics: 'open', hosts: ['netboot.example.net', 'netboot'] });
    // Beside the file, wherever the server was started; a whole path is one.
    assert.deepEqual(said.tls, {
      certificate: join(folder, 'tls/fullchain.pem'),
      key: '/run/credentials/bootseal.service/tls.key',
      port: 8443,
    });
  });

  for (const wrong of [
    '[api]\nread = "none"',
    '[api]\nread = true',
    '[api]\nmetrics = "no"',
    '[api]\nhosts = "netboot"',
    '[api]\nhosts = ["netboot:8080"]',
    '[api]\nhosts = ["NETBOOT"]',
    '[api]\nhosts = ["*.example.net"]',
    '[api]\nhosts = ["https://netboot"]',
    '[api]\nhosts = [""]',
    '[api]\ncors = "*"',
    '[tls]\ncertificate = "a.pem"',
    '[tls]\ncertificate = "a.pem"\nkey = ""',
    '[tls]\ncertificate = "a.pem"\nkey = "b.pem"\nport = 65536',
    '[tls]\ncertificate = "a.pem"\nkey = "b.pem"\nmin_version = "TLSv1"',
  ]) {
    it(`is not taken where it says ${JSON.stringify(wrong)}`, async () => {
      await writeFile(path, `${wrong}\n`);
      await assert.rejects(readConfiguration(path), UsageError);
    });
  }
});
