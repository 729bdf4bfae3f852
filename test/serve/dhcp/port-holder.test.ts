import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { mkdir, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { it } from 'node:test';
import { findPortHolder, portHolder } from '../../../src/serve/dhcp/port-holder.ts';
import { temporaryFolder } from '../../fixtures/folder.ts';

const HEADER =
  '  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n';
const SOCKET = '  1: 00000000:0043 00000000:0000 07 00000000:00000000 00:00000000 00000000 0 0 4711 2\n';

/** What the kernel tells, with one process that has the socket and one that ended meanwhile. */
async function kernel(name: string): Promise<string> {
  const proc = await temporaryFolder();
  await mkdir(join(proc, 'net'));
  await writeFile(join(proc, 'net', 'udp'), HEADER + SOCKET);
  for (const pid of ['7', '8']) await mkdir(join(proc, pid));
  await mkdir(join(proc, '8', 'fd'));
  await symlink('socket:[4711]', join(proc, '8', 'fd', '3'));
  await writeFile(join(proc, '8', 'comm'), `${name}\n`);
  return proc;
}

it('names the program that has the port, and what to do about it', async () => {
  assert.match(
    await portHolder(67, await kernel('dnsmasq')),
    /^dnsmasq \(process 8\) holds that port: .*bind-interfaces/,
  );
  assert.match(await portHolder(67, await kernel('other')), /^other \(process 8\) holds that port: stop it/);
  assert.match(await portHolder(68, await kernel('other')), /^another program holds that port/);
});

it('says what kept it from finding out, whichever read it was', async () => {
  const table = await kernel('dnsmasq');
  await mkdir(join(table, 'net', 'udp6'));
  assert.match(
    await portHolder(67, table),
    /^another program \(which could not be found out: [^\n]+\) holds that port for all addresses/,
  );
  const name = await temporaryFolder();
  await mkdir(join(name, 'net'));
  await writeFile(join(name, 'net', 'udp'), HEADER + SOCKET);
  await mkdir(join(name, '8', 'fd'), { recursive: true });
  await symlink('socket:[4711]', join(name, '8', 'fd', '3'));
  await mkdir(join(name, '8', 'comm'));
  assert.match(await portHolder(67, name), /^another program \(which could not be found out: /);
});

it('finds nobody where the port is our own', async () => {
  const socket = createSocket('udp4');
  socket.bind(0, '127.0.0.1');
  await once(socket, 'listening');
  try {
    assert.match(await portHolder(socket.address().port), /^another program holds that port/);
  } finally {
    socket.close();
  }
});

it('tells programs apart that have one port at different addresses, of TCP and of IPv6, too', async () => {
  const children: ChildProcess[] = [];
  const listening = async (address: string, port: number) => {
    const program = `const s = require('net').createServer().listen(${port}, '${address}', () => console.log(s.address().port))`;
    const child = spawn(process.execPath, ['-e', program], { stdio: ['ignore', 'pipe', 'inherit'] });
    children.push(child);
    const [said] = (await once(child.stdout, 'data')) as [Buffer];
    return { pid: child.pid, port: Number(said.toString()) };
  };
  try {
    const first = await listening('127.0.0.2', 0);
    const { port } = first;
    const second = await listening('127.0.0.3', port);
    const third = await listening('::1', port);
    const at = async (address?: string) => (await findPortHolder({ transport: 'tcp', port, address }))?.pid;
    assert.equal(await at('127.0.0.2'), first.pid);
    assert.equal(await at('127.0.0.3'), second.pid);
    assert.equal(await at('::1'), third.pid);
    assert.equal(await at('127.0.0.4'), undefined);
    assert.ok([first.pid, second.pid, third.pid].includes(await at('0.0.0.0')));
    assert.equal(await findPortHolder({ transport: 'udp', port }), undefined);
  } finally {
    for (const child of children) child.kill('SIGKILL');
  }
});
