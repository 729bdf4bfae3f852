import { spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { mkdir, mkdtemp, open, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { run } from './command.ts';

/*
 * A real S3 engine out of Debian's packages: one node of Ceph (monitor, object store, gateway) on 127.0.0.1, all of it in
 * one folder. For tests alone: within the node nobody is asked who he is. It takes eight seconds to make, five to start
 * again, and 440 MB of memory.
 */

/** In the order in which they start. */
const DAEMONS = ['mon', 'osd', 'rgw'] as const;
export type CephDaemon = (typeof DAEMONS)[number];

export interface S3Keys {
  readonly accessKey: string;
  readonly secretKey: string;
}

/** Bytes. The file is sparse; a store that is full hangs, so it is never small. */
const DISK = 16 * 1024 ** 3;
const KEYS: S3Keys = { accessKey: 'labaccess', secretKey: 'labsecret' };
/** Below what Linux gives out as ephemeral ports, so that nobody takes one between looking and binding. */
const PORTS = { from: 20_000, to: 30_000 };
/** How many ports the daemons may choose from among themselves. */
const RANGE = 200;

interface Facts {
  readonly id: string;
  readonly port: number;
  readonly monitor: number;
  readonly from: number;
}

export class CephNode {
  readonly #folder: string;
  readonly #facts: Facts;
  readonly #outlives: boolean;

  private constructor(folder: string, facts: Facts, outlives: boolean) {
    this.#folder = folder;
    this.#facts = facts;
    this.#outlives = outlives;
  }

  /**
   * Makes a node and starts it.
   *
   * @param options `folder`: absolute and short, since it is part of the names of unix sockets; default: a new one.
   *   `outlives`: its daemons go on when this process ends, and whoever makes it sees to it that somebody stops them.
   */
  static async make({ folder, outlives = false }: { folder?: string; outlives?: boolean } = {}) {
    const place = folder ?? (await mkdtemp('/tmp/bsl-s3-'));
    for (const name of ['', 'run', 'log', 'crash', 'mon', 'osd', 'rgw'])
      await mkdir(join(place, name), { recursive: true });
    const facts = { id: randomUUID(), port: await freePort(), monitor: await freePort(), from: somePort() };
    const node = new CephNode(place, facts, outlives);
    await writeFile(node.#file('facts.json'), JSON.stringify(facts));
    await writeFile(node.#file('keyring'), '');
    await writeFile(node.#configuration, node.#text());
    try {
      await node.#first();
    } catch (error) {
      await node.destroy();
      throw error;
    }
    return node;
  }

  /** One that another process has made in a folder. */
  static async of(folder: string): Promise<CephNode> {
    const facts = JSON.parse(await readFile(join(folder, 'facts.json'), 'utf8')) as Facts;
    return new CephNode(folder, facts, true);
  }

  get endpoint(): string {
    return `http://127.0.0.1:${this.#facts.port}`;
  }

  get keys(): S3Keys {
    return KEYS;
  }

  /** What a program is told in its environment to use this engine. */
  environment({ accessKey, secretKey }: S3Keys = KEYS): Record<string, string> {
    return {
      AWS_ENDPOINT_URL_S3: this.endpoint,
      AWS_REGION: 'us-east-1',
      AWS_ACCESS_KEY_ID: accessKey,
      AWS_SECRET_ACCESS_KEY: secretKey,
    };
  }

  /** Starts what does not run, and resolves once requests are answered. */
  async start(...daemons: readonly CephDaemon[]): Promise<void> {
    for (const daemon of DAEMONS)
      if ((daemons.length === 0 || daemons.includes(daemon)) && (await this.#pid(daemon)) === undefined)
        await this.#launch(daemon);
    await this.#answers();
  }

  /** Stops them as an administrator would; all of them where none is named. */
  stop(...daemons: readonly CephDaemon[]): Promise<void> {
    return this.#end('SIGTERM', daemons);
  }

  /** SIGKILL, and nothing else is said to them. */
  kill(...daemons: readonly CephDaemon[]): Promise<void> {
    return this.#end('SIGKILL', daemons);
  }

  /** Stops everything, and takes its folder away. */
  async destroy(): Promise<void> {
    await this.kill();
    await rm(this.#folder, { recursive: true, force: true });
  }

  /** Another account, with buckets of its own. */
  async addUser(name: string, { accessKey, secretKey }: S3Keys): Promise<void> {
    const words = [`--uid=${name}`, `--display-name=${name}`];
    await this.#admin('user', 'create', ...words, `--access-key=${accessKey}`, `--secret-key=${secretKey}`);
  }

  /** Another pair of keys for an account; the first ones go on being good. */
  async addKeys(name: string, { accessKey, secretKey }: S3Keys): Promise<void> {
    const words = [`--uid=${name}`, '--key-type=s3'];
    await this.#admin('key', 'create', ...words, `--access-key=${accessKey}`, `--secret-key=${secretKey}`);
  }

  /** From now on a pair of keys is good for nothing. */
  async removeKeys(name: string, accessKey: string): Promise<void> {
    await this.#admin('key', 'rm', `--uid=${name}`, '--key-type=s3', `--access-key=${accessKey}`);
  }

  async #first(): Promise<void> {
    const { id, monitor } = this.#facts;
    const map = this.#file('monmap');
    await run('monmaptool', ['--create', '--fsid', id, '--addv', 'a', `[v2:127.0.0.1:${monitor}]`, map]);
    await this.#run('ceph-mon', '--mkfs', '-i', 'a', '--monmap', map);
    await this.#launch('mon');
    const disk = randomUUID();
    await this.#run('ceph', '--connect-timeout', '60', 'osd', 'new', disk);
    await this.#run('ceph-osd', '-i', '0', '--mkfs', '--osd-uuid', disk);
    await this.#launch('osd');
    await this.#launch('rgw');
    await this.#answers();
    await this.addUser('lab', KEYS);
  }

  async #launch(daemon: CephDaemon): Promise<void> {
    const words: Readonly<Record<CephDaemon, readonly string[]>> = {
      mon: ['ceph-mon', '-i', 'a'],
      osd: ['ceph-osd', '-i', '0'],
      rgw: ['radosgw', '-n', 'client.rgw'],
    };
    const command = [...words[daemon], '-c', this.#configuration, '-f'];
    const log = await open(this.#file('log', `${daemon}.out`), 'a');
    // A test that is killed takes them along.
    const [program = '', ...rest] = this.#outlives ? command : ['setpriv', '--pdeathsig', 'KILL', ...command];
    const child = spawn(program, rest, {
      stdio: ['ignore', log.fd, log.fd],
      detached: true,
      env: this.#env(),
    });
    await once(child, 'spawn');
    await log.close();
    child.unref();
    await writeFile(this.#file('run', `${daemon}.pid`), String(child.pid));
  }

  /** Nothing tells when a gateway has begun to answer. */
  async #answers(): Promise<void> {
    for (;;) {
      const answer = await fetch(this.endpoint, { signal: AbortSignal.timeout(5_000) }).catch(
        () => undefined,
      );
      await answer?.body?.cancel();
      if (answer && answer.status < 500) return;
      for (const daemon of DAEMONS) {
        if ((await this.#pid(daemon)) !== undefined) continue;
        const said = await readFile(this.#file('log', `${daemon}.out`), 'utf8').catch(() => '');
        throw new Error(`The ${daemon} of Ceph does not run:\n${said.split('\n').slice(-12).join('\n')}`);
      }
      await setTimeout(100);
    }
  }

  async #end(signal: NodeJS.Signals, daemons: readonly CephDaemon[]): Promise<void> {
    for (const daemon of [...DAEMONS].reverse()) {
      if (daemons.length > 0 && !daemons.includes(daemon)) continue;
      const pid = await this.#pid(daemon);
      if (pid !== undefined) process.kill(pid, signal);
      // The gateway must be gone before the store that it writes to is asked to go; killing is done at once.
      if (signal === 'SIGTERM') await this.#gone(daemon);
    }
    for (const daemon of DAEMONS)
      if (daemons.length === 0 || daemons.includes(daemon)) await this.#gone(daemon);
  }

  async #gone(daemon: CephDaemon): Promise<void> {
    while ((await this.#pid(daemon)) !== undefined) await setTimeout(50);
  }

  /** The process of a daemon, if it is that one still: a number may be somebody else's by now. */
  async #pid(daemon: CephDaemon): Promise<number | undefined> {
    const text = await readFile(this.#file('run', `${daemon}.pid`), 'utf8').catch(() => '');
    if (!/^[1-9][0-9]*$/.test(text)) return undefined;
    const words = await readFile(`/proc/${text}/cmdline`, 'utf8').catch(() => '');
    return words.split('\0').includes(this.#configuration) ? Number(text) : undefined;
  }

  #admin(...words: readonly string[]): Promise<void> {
    return this.#run('radosgw-admin', ...words);
  }

  async #run(program: string, ...words: readonly string[]): Promise<void> {
    await run(program, ['-c', this.#configuration, ...words], { env: this.#env() });
  }

  #env(): NodeJS.ProcessEnv {
    return { ...process.env, CEPH_CONF: this.#configuration, CEPH_ARGS: '' };
  }

  get #configuration(): string {
    return this.#file('ceph.conf');
  }

  #file(...names: readonly string[]): string {
    return join(this.#folder, ...names);
  }

  #text(): string {
    const { id, port, monitor, from } = this.#facts;
    const lines = {
      fsid: id,
      mon_host: `[v2:127.0.0.1:${monitor}]`,
      public_addr: '127.0.0.1',
      cluster_addr: '127.0.0.1',
      ms_bind_ipv4: 'true',
      ms_bind_ipv6: 'false',
      ms_bind_msgr1: 'false',
      ms_bind_port_min: from,
      ms_bind_port_max: from + RANGE,
      auth_cluster_required: 'none',
      auth_service_required: 'none',
      auth_client_required: 'none',
      // The gateway's own choice needs a key of the cluster.
      ms_mon_client_mode: 'crc',
      run_dir: this.#file('run'),
      admin_socket: this.#file('run', '$name.asok'),
      log_file: this.#file('log', '$name.log'),
      mon_cluster_log_file: this.#file('log', 'cluster.log'),
      crash_dir: this.#file('crash'),
      keyring: this.#file('keyring'),
      mon_data: this.#file('mon'),
      osd_data: this.#file('osd'),
      rgw_data: this.#file('rgw'),
      osd_objectstore: 'bluestore',
      bluestore_block_size: DISK,
      osd_memory_target: 1024 ** 3,
      osd_pool_default_size: 1,
      osd_pool_default_min_size: 1,
      osd_pool_default_pg_num: 8,
      osd_pool_default_pgp_num: 8,
      osd_pool_default_pg_autoscale_mode: 'off',
      osd_crush_chooseleaf_type: 0,
      mon_allow_pool_size_one: 'true',
      // A monitor ends itself on a disk that is nearly full.
      mon_data_avail_crit: 1,
      mon_data_avail_warn: 2,
      // Changes of the map in hundredths of a second: the first start takes eight seconds instead of nineteen.
      paxos_propose_interval: 0.05,
      paxos_min_wait: 0.01,
      // Without tcp_nodelay each small answer takes 40 ms more.
      rgw_frontends: `beast endpoint=127.0.0.1:${port} tcp_nodelay=1`,
      rgw_gc_obj_min_wait: 1,
      rgw_gc_processor_period: 60,
    };
    const text = Object.entries(lines).map(([name, value]) => `${name} = ${value}`);
    return `[global]\n${text.join('\n')}\n`;
  }
}

function somePort(): number {
  return PORTS.from + Math.floor(Math.random() * (PORTS.to - PORTS.from - RANGE));
}

async function freePort(): Promise<number> {
  for (;;) {
    const port = somePort();
    const server = createServer();
    const free = await new Promise<boolean>((resolve) => {
      server.once('error', () => resolve(false));
      server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)));
    });
    if (free) return port;
  }
}
