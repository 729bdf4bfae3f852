import assert from 'node:assert/strict';
import { chmod, cp, rm, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { execute, run } from '../../lab/command.ts';
import { readPackageFile } from '../../src/files/package-file.ts';
import { publish } from '../../src/publish/publish.ts';
import { serve } from '../../src/server/serve.ts';
import { quarantineRelease } from '../../src/store/quarantine.ts';
import { temporaryFolder } from '../fixtures/folder.ts';
import { makeKeys, NOW } from '../fixtures/keys.ts';
import { KERNEL, sampleTree, sealFixture } from '../fixtures/release.ts';
import { Exposition } from '../server/exposition.ts';
import { hearing } from '../server/hearing.ts';

/** promtool judges what is served and what is shipped. */

const DAY = 86_400_000;
const RELEASE = 'arch/2026.11.01';
const shipped = (name: string) => readPackageFile('packaging/prometheus', name).toString();
const RULES = shipped('bootseal.rules.yml');
const TESTS = shipped('bootseal.test.yml');
const DASHBOARD = JSON.parse(readPackageFile('packaging/grafana', 'bootseal.json').toString()) as Dashboard;
const ALERTS = [...RULES.matchAll(/^ {6}- alert: (\w+)$/gm)].map(([, name = '']) => name);

interface Dashboard {
  readonly templating: { readonly list: readonly { readonly name: string; readonly definition?: string }[] };
  readonly panels: readonly Panel[];
}

interface Panel {
  readonly id: number;
  readonly type: string;
  readonly title: string;
  readonly datasource?: { readonly type: string; readonly uid: string };
  readonly targets?: readonly { readonly expr: string; readonly datasource: Panel['datasource'] }[];
  readonly gridPos: { readonly x: number; readonly y: number; readonly w: number; readonly h: number };
}

const folder = await temporaryFolder();
const keys = await makeKeys(join(folder, 'keys'));
const anchors = join(keys, 'anchors');
const tree = await sampleTree(join(folder, 'tree'), keys);
await sealFixture(tree, keys);
const state = join(folder, 'state');
await publish({ tree, channel: 'stable', state, anchors, now: NOW, rsaBits: 2048 });
const serving = { anchors, httpPort: 0, tftpPort: 0, nbdPort: 0 } as const;

/** What a server says that has just begun. */
const fresh = await (async () => {
  const server = await serve({ ...serving, tree, clock: () => NOW });
  const told = await Exposition.of(server.url);
  await server.close(0);
  return told;
})();

/** Writes the shipped files beside each other, as promtool wants them. */
async function shippedFolder(name: string): Promise<string> {
  const to = join(folder, name);
  await cp(new URL('../../../packaging/prometheus', import.meta.url), to, { recursive: true });
  return to;
}

test('what a server says is clean for promtool', async () => {
  const { status, stdout, stderr } = await execute('promtool', ['check', 'metrics'], { input: fresh.text });
  assert.deepEqual({ status, said: stdout + stderr }, { status: 0, said: '' });
  // It does look: a counter without its suffix is told.
  const wrong = '# HELP boots Boots.\n# TYPE boots counter\nboots 1\n';
  assert.equal((await execute('promtool', ['check', 'metrics'], { input: wrong })).status, 3);
});

test('the rules are clean, and each of them fires in its test', async () => {
  const at = await shippedFolder('rules');
  await run('promtool', ['check', 'rules', join(at, 'bootseal.rules.yml')]);
  await run('promtool', ['test', 'rules', join(at, 'bootseal.test.yml')]);
  assert.ok(ALERTS.length > 15);
  const fired = new Set<string>();
  for (const [, name = '', samples = ''] of TESTS.matchAll(
    /expr: ALERTS\{alertname="(\w+)", alertstate="firing"\}\n +eval_time: \w+\n +exp_samples:\n +- labels: '([^']*)'\n +value: 1$/gm,
  ))
    if (samples.includes(`alertname="${name}"`)) fired.add(name);
  assert.deepEqual([...fired].sort(), [...ALERTS].sort());
  for (const name of ALERTS) {
    const quiet = new RegExp(`alertname="${name}"[^\n]*\n +eval_time: \\w+\n +exp_samples: \\[\\]`);
    assert.match(TESTS, quiet, `${name} is quiet before`);
  }
});

test('the configuration that docs/metrics.md shows is one', async () => {
  const page = readPackageFile('docs', 'metrics.md').toString();
  const shown = page.match(/^ {4}.*$/gm) ?? [];
  const at = await shippedFolder('configured');
  const text = shown.map((line) => line.slice(4)).join('\n');
  assert.match(text, /job_name: bootseal/);
  await writeFile(join(at, 'prometheus.yml'), text.replace('/usr/share/bootseal/prometheus', at));
  const { stdout } = await run('promtool', ['check', 'config', join(at, 'prometheus.yml')]);
  assert.match(stdout, new RegExp(`${ALERTS.length} rules found`));
});

test('every alert says how bad it is, what it is and what to do', () => {
  const each = RULES.split(/^ {6}- alert: /m).slice(1);
  assert.equal(each.length, ALERTS.length);
  for (const rule of each) {
    assert.match(rule, /severity: (critical|warning)$/m);
    assert.match(rule, /summary: [A-Z].*\.$/m);
    const description = /description: >-\n((?: {12}.*\n?)+)/.exec(rule)?.[1] ?? '';
    assert.ok(description.length > 100 && description.trimEnd().endsWith('.'), rule);
  }
});

/** Selectors of an expression: a name, and what it asks of labels. */
function selectors(expr: string): { name: string; asks: [label: string, values: readonly string[]][] }[] {
  return [...expr.matchAll(/\b((?:bootseal|process)_[a-z_]+)(?:\{([^}]*)\})?/g)].map(
    ([, name = '', labels = '']) => ({
      name,
      asks: [...labels.matchAll(/([a-z_]+)\s*(?:=~|!~|!=|=)\s*"([^"]*)"/g)].map(
        ([, label = '', values = '']): [string, string[]] => [label, values.split('|')],
      ),
    }),
  );
}

/** Of Prometheus itself, not of a server. */
const TARGET = new Set(['job', 'instance']);

function demandKnown(expr: string): number {
  const found = selectors(expr);
  for (const { name, asks } of found) {
    const labels = fresh.names.get(name);
    assert.ok(labels, `${name} is a number of a server`);
    for (const [label, values] of asks.filter(([each]) => !TARGET.has(each)))
      for (const value of values) assert.ok(labels.get(label)?.has(value), `${name} has ${label}="${value}"`);
  }
  return found.length;
}

test('rules, their tests and the dashboard name numbers, labels and values that a server has', () => {
  const comments = /^ *#.*$/gm;
  assert.ok(demandKnown(RULES.replace(comments, '')) > 25);
  const fed = [...TESTS.matchAll(/- series: '([^']*)'/g)].map(([, series = '']) => series);
  assert.ok(demandKnown(fed.join('\n')) > 25);
  const shown = expressions(DASHBOARD).join('\n');
  assert.ok(demandKnown(shown) > 35);
  for (const { definition = '' } of DASHBOARD.templating.list) demandKnown(definition);
});

function expressions({ panels }: Dashboard): string[] {
  return panels.flatMap(({ targets = [] }) => targets.map(({ expr }) => expr));
}

test('each expression of the dashboard is one of PromQL', async () => {
  const rules = expressions(DASHBOARD).map((expr, index) => {
    const asked = expr.replaceAll('$__rate_interval', '5m').replaceAll('$__range', '1d');
    return `      - record: panel:${index}\n        expr: ${JSON.stringify(asked)}\n`;
  });
  const file = join(folder, 'dashboard.yml');
  const write = (text: readonly string[]) =>
    writeFile(file, `groups:\n  - name: dashboard\n    rules:\n${text.join('')}`);
  await write(rules);
  const { stdout } = await run('promtool', ['check', 'rules', file]);
  assert.match(stdout, new RegExp(`SUCCESS: ${rules.length} rules found`));
  await write([...rules, '      - record: panel:x\n        expr: "sum by (x) rate("\n']);
  assert.notEqual((await execute('promtool', ['check', 'rules', file])).status, 0);
});

test('the dashboard asks the data source that is chosen, and needs no foreign panels', () => {
  const OWN = new Set(['row', 'stat', 'timeseries', 'table']);
  const chosen = { type: 'prometheus', uid: `\${datasource}` };
  assert.equal(DASHBOARD.templating.list[0]?.name, 'datasource');
  const ids = DASHBOARD.panels.map(({ id }) => id);
  assert.equal(new Set(ids).size, ids.length);
  for (const panel of DASHBOARD.panels) {
    assert.ok(OWN.has(panel.type), panel.type);
    assert.ok(panel.gridPos.x + panel.gridPos.w <= 24, panel.title);
    if (panel.type === 'row') continue;
    assert.deepEqual(panel.datasource, chosen, panel.title);
    assert.ok(panel.targets?.length, panel.title);
    for (const { datasource } of panel.targets ?? []) assert.deepEqual(datasource, chosen);
  }
  for (const [index, one] of DASHBOARD.panels.entries())
    for (const other of DASHBOARD.panels.slice(index + 1))
      assert.ok(!overlap(one.gridPos, other.gridPos), `${one.title} lies upon ${other.title}`);
});

function overlap(one: Panel['gridPos'], other: Panel['gridPos']): boolean {
  return (
    one.x < other.x + other.w &&
    other.x < one.x + one.w &&
    one.y < other.y + other.h &&
    other.y < one.y + one.h
  );
}

test('what a real server says, before and after things went wrong, fires the alerts of these things and no other', async (t) => {
  const quarantined = {
    ...{ release: 'arch/2026.10.01', manifest: '', origin: 'here', code: 'bad-signature' },
    ...{ message: 'It is another one.', command: 'bootseal state restore' },
  };
  await quarantineRelease(state, quarantined, NOW, true);
  // Nothing can be written where receipts belong.
  await rm(join(state, 'boots'), { recursive: true, force: true });
  await writeFile(join(state, 'boots'), 'no folder');
  let time = NOW + 8 * DAY;
  const { log, heard } = hearing();
  const server = await serve({
    ...{ ...serving, state, clock: () => time, log },
    configuration: { allow_unverified_loaders: true },
  });
  t.after(() => server.close(0));
  const before = { at: time, told: await Exposition.of(server.url) };
  const stock = await fetch(`${server.url}/unverified.ipxe`);
  assert.equal(stock.status, 200);
  const kernel = join(state, 'releases', RELEASE, KERNEL);
  await chmod(kernel, 0o600);
  await truncate(kernel, 1000);
  assert.equal((await fetch(`${server.url}/releases/${RELEASE}/${KERNEL}`)).status, 503);
  const ended = heard('new boots have ended; machines that run keep their root');
  time = NOW + 91 * DAY;
  await ended;
  const after = { at: time, told: await Exposition.of(server.url) };

  // As a Prometheus has it that asked once a minute: ten times before, and then for 90 minutes.
  const series = [...after.told.series].map(([name, value]) => {
    const was = before.told.series.get(name) ?? Number.NaN;
    const values = [
      ...Array(10).fill(timed(name, was, before.at)),
      ...Array(90).fill(timed(name, value, after.at)),
    ];
    const labels = name.includes('{')
      ? name.replace('{', '{job="bootseal",instance="boot",')
      : `${name}{job="bootseal",instance="boot"}`;
    return `      - series: ${JSON.stringify(labels)}\n        values: '${values.map(prometheusNumber).join(' ')}'\n`;
  });
  const up = `      - series: 'up{job="bootseal",instance="boot"}'\n        values: '1x100'\n`;
  const firing = (eval_time: string, alerts: readonly string[]) => {
    const samples = alerts.map(
      (name) => `          - labels: '{alertname="${name}"}'\n            value: 1\n`,
    );
    return `      - expr: count by (alertname) (ALERTS{alertstate="firing"}) > bool 0\n        eval_time: ${eval_time}\n        exp_samples:\n${samples.join('')}`;
  };
  const at = await shippedFolder('real');
  const file = join(at, 'real.yml');
  await writeFile(
    file,
    `rule_files: [bootseal.rules.yml]\nevaluation_interval: 1m\ntests:\n  - interval: 1m\n    input_series:\n${up}${series.join('')}    promql_expr_test:\n${[
      firing('9m', ['BootsealSnapshotEnded', 'BootsealQuarantine']),
      firing('67m', [
        'BootsealSnapshotEnded',
        'BootsealQuarantine',
        'BootsealReceiptsNotWritten',
        'BootsealSnapshotEndsSoon',
        'BootsealUnverifiedLoaders',
        'BootsealFileDrifted',
        'BootsealNotReady',
        'BootsealReleaseEnded',
        'BootsealEndsIn30Days',
        'BootsealEndsIn7Days',
        'BootsealScrubOverdue',
      ]),
    ].join('')}`,
  );
  await run('promtool', ['test', 'rules', file]);
});

/** promtool begins at the second 0: what is a time is told as far from there as it was from then. */
function timed(name: string, value: number, at: number): number {
  return name.includes('_timestamp_seconds') && value !== 0 ? value - at / 1000 : value;
}

function prometheusNumber(value: number): string {
  return String(value).replace('Infinity', 'Inf');
}
