import assert from 'node:assert/strict';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { it } from 'node:test';
import { replaceBetween } from '../../bench/frame/between.ts';
import { curveSvg } from '../../bench/frame/curve.ts';
import { allGrowth, allParts } from '../../bench/frame/parts.ts';
import { type Row, resultOf } from '../../bench/frame/row.ts';
import { figure, markdownLimits, markdownTable, terminalTable } from '../../bench/frame/table.ts';
import { temporaryFolder } from '../fixtures/folder.ts';

const ROW: Row = {
  name: 'a/b',
  job: 'a job | of work',
  against: 'a peer',
  unit: 'times',
  goal: { atLeast: 2 },
  limit: 'the disk is slow.',
};
const results = [
  resultOf(ROW, { values: [1.456, 1, 3], ours: '3 MB/s', peer: '2 MB/s' }),
  resultOf({ ...ROW, name: 'a/c', job: 'another' }, { values: [2] }),
  resultOf({ ...ROW, name: 'a/d', job: 'a third' }, undefined),
];

it('a table says what was measured, whether that meets the goal, and if not what limits it', () => {
  assert.deepEqual(
    terminalTable(results, false)
      .split('\n')
      .map((line) => line.split(/ {2,}/)),
    [
      ['job', 'against', 'ours', 'theirs', 'measured', 'goal'],
      ['a job | of work', 'a peer', '3 MB/s', '2 MB/s', '1.46× (1–3)', '≥ 2×', 'not met'],
      ['another', 'a peer', '2×', '≥ 2×', 'met'],
      ['a third', 'a peer', 'failed', '≥ 2×', 'failed'],
      [''],
      ['a/b: the disk is slow.'],
    ],
  );
});

it('the same as Markdown, where a bar is no border', () => {
  const [head, line, first] = markdownTable(results).split('\n');
  assert.match(head ?? '', /^\| job \| against \|/);
  assert.match(line ?? '', /^(\| --- ){7}\|$/);
  assert.match(first ?? '', /^\| a job \\\| of work \| a peer \|/);
  assert.equal(markdownLimits(results), '- *a job | of work*: the disk is slow.');
});

it('figures have three digits that count', () => {
  const said = [figure(0.11849, 's'), figure(20412.7, '/s'), figure(1, 'times'), figure(0, 'MB')];
  assert.deepEqual(said, ['0.118 s', '20,413/s', '1×', '0 MB']);
});

it('what a program made goes between its marks, and nowhere else', async () => {
  const path = join(await temporaryFolder(), 'text.md');
  await writeFile(path, 'before\n<!-- table -->\nold\n<!-- /table -->\nbehind\n');
  await replaceBetween(path, 'table', 'new');
  assert.equal(await readFile(path, 'utf8'), 'before\n<!-- table -->\nnew\n<!-- /table -->\nbehind\n');
  await assert.rejects(replaceBetween(path, 'figure', 'new'), /has no place/);
});

it('a curve is a drawing in which what grows in proportion has slope one', () => {
  const svg = curveSvg({
    ...{ name: 'x', title: 'a & b', across: 'size', up: 'seconds' },
    series: [
      {
        name: 'ours',
        points: [
          [1, 1],
          [10, 10],
          [100, 100],
        ],
      },
    ],
  });
  assert.match(svg, /a &#38; b/);
  const [, points = ''] = /points="([^"]+)"/.exec(svg) ?? [];
  const placed = points.split(' ').map((pair) => pair.split(',').map(Number));
  const [[x0 = 0, y0 = 0] = [], [x1 = 0, y1 = 0] = [], [x2 = 0, y2 = 0] = []] = placed;
  assert.ok(x0 < x1 && x1 < x2 && y0 > y1 && y1 > y2);
  assert.ok(Math.abs((y0 - y1) / (x1 - x0) - (y1 - y2) / (x2 - x1)) < 0.01);
  assert.doesNotMatch(svg, /NaN|Infinity/);
});

it('every part has a name and rows of its own', async () => {
  const parts = await allParts();
  for (const all of [parts, await allGrowth()])
    assert.equal(new Set(all.map(({ name }) => name)).size, all.length);
  const rows = parts.flatMap(({ rows }) => rows.map(({ name }) => name));
  assert.equal(new Set(rows).size, rows.length);
  for (const part of parts)
    for (const { name } of part.rows) assert.ok(name.startsWith(`${part.name}/`), name);
});
