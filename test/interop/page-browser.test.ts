import assert from 'node:assert/strict';
import { appendFile, chmod } from 'node:fs/promises';
import { join } from 'node:path';
import { after, it, type TestContext } from 'node:test';
import { axeFindings, openBrowser, openTab, watchBoot } from '../../lab/browser.ts';
import { boot } from '../../src/operations/boot.ts';
import { addToken } from '../../src/operations/tokens.ts';
import type { ServerEvent } from '../../src/release/server-event.ts';
import { DEFAULT_CONFIGURATION } from '../../src/server/configuration.ts';
import type { Serving } from '../../src/server/serve.ts';
import { temporaryFolder } from '../fixtures/folder.ts';
import { NOW } from '../fixtures/keys.ts';
import { pageSite, STABLE } from '../fixtures/page-site.ts';
import { KERNEL } from '../fixtures/release.ts';
import { SeenMachine } from '../fixtures/seen-boots.ts';

/** The pages in a real browser. */

const site = await pageSite(await temporaryFolder());
const browser = await openBrowser();
after(() => browser.close());

async function served(t: TestContext, onEvent?: (event: ServerEvent) => void): Promise<Serving> {
  const server = await site.serve(onEvent ? { onEvent } : {});
  t.after(() => server.close(0));
  return server;
}

/** Every kind of page, with something on it. */
async function pagesOf(server: Serving): Promise<readonly string[]> {
  const { boots } = server;
  new SeenMachine(boots, 1, STABLE).dhcp().script().kernel().initrd().userspace().verified(['a line']);
  new SeenMachine(boots, 2, STABLE)
    .dhcp()
    .script()
    .kernel()
    .refused('stale', 'It was best before yesterday.', ['a line']);
  new SeenMachine(boots, 3, STABLE).dhcp().script().local();
  new SeenMachine(boots, 4, STABLE).dhcp().script().kernel();
  const [bad] = await boots.find({ failed: true }, 1);
  const [running] = boots.running();
  return [
    '/',
    ...[
      'boots',
      'boots?failed=1',
      'boots?outcome=none',
      'machines',
      'releases',
      'channels',
      'keys',
      'quarantine',
    ].map((name) => `/ui/${name}`),
    `/ui/boots/${bad?.boot}`,
    `/ui/boots/${running?.boot}`,
    '/ui/machines/52-54-00-00-01-02',
    `/ui/releases/${STABLE}`,
    '/ui/nothing',
    '/sign-in',
  ];
}

it('a boot appears, moves from stage to stage, and turns green, without the page being loaded anew', async (t) => {
  const server = await served(t);
  const machine = new SeenMachine(server.boots, 7, STABLE);
  const seen = await watchBoot(browser, server.url, machine.mac, async (page) => {
    for (const step of ['dhcp', 'script', 'kernel', 'initrd', 'userspace'] as const) {
      machine[step]();
      await page.locator('#running [aria-current=step]', { hasText: step }).waitFor();
    }
    machine.verified();
  });
  assert.deepEqual(seen.stages, ['dhcp', 'script', 'kernel', 'initrd', 'userspace']);
  assert.equal(seen.outcome, 'verified (claimed)');
  assert.match(seen.row, /\bgood\b/);
  assert.equal(seen.loads, 1);
  assert.deepEqual(seen.complaints, []);
});

it('an emulated machine boots, and the page that was open says how it ended', async (t) => {
  const server = await served(t);
  const mac = '52:54:00:12:34:56';
  const seen = await watchBoot(browser, server.url, mac, async () => {
    const verdict = await boot({
      url: `${server.url}/boot.ipxe`,
      anchors: site.anchors,
      mac,
      now: NOW,
      anyKernel: true,
    });
    assert.equal(verdict.verified, true, verdict.refusal?.message);
  });
  assert.equal(seen.outcome, 'served whole');
  assert.deepEqual(seen.complaints, []);
});

it('a refused one shows its reason and what to do, there, among the failures, and on a page of its own', async (t) => {
  const server = await served(t);
  const { page, complaints } = await openTab(browser);
  t.after(() => page.context().close());
  await page.goto(server.url);
  await page.locator('#live[data-is=live]').waitFor();
  const machine = new SeenMachine(server.boots, 9, STABLE).dhcp().script().kernel().initrd().userspace();
  machine.refused('wrong-command-line', 'It holds break=premount.');
  const row = page.locator('#running > li.bad');
  await row.waitFor();
  assert.match(await row.innerText(), /REFUSED[\s\S]*wrong-command-line[\s\S]*It holds break=premount\./);
  await page.locator('#failures', { hasText: 'look at what its loader, or its menu, adds' }).waitFor();
  await page.locator('#trouble .huge', { hasText: '1' }).waitFor();
  await row.getByRole('link', { name: 'details' }).click();
  assert.match(
    await page.locator('main').innerText(),
    /Why it stopped\s+wrong-command-line It holds break=premount\./,
  );
  assert.deepEqual(complaints, []);
});

it('the page of a boot goes on with it', async (t) => {
  const server = await served(t);
  const machine = new SeenMachine(server.boots, 11, STABLE).dhcp().script();
  const [running] = server.boots.running();
  const { page } = await openTab(browser);
  t.after(() => page.context().close());
  await page.goto(`${server.url}/ui/boots/${running?.boot}`);
  await page.locator('#live[data-is=live]').waitFor();
  machine.kernel();
  await page.locator('.stages .now', { hasText: 'kernel' }).waitFor();
  machine.initrd().verified();
  await page.locator('.strip.good', { hasText: 'verified (claimed)' }).waitFor();
});

it('a file that was changed shows in an open tab, without a reload', async (t) => {
  const own = await pageSite(await temporaryFolder());
  const server = await own.serve();
  t.after(() => server.close(0));
  const { page, complaints } = await openTab(browser);
  t.after(() => page.context().close());
  await page.goto(server.url);
  await page.locator('#state', { hasText: 'machines boot it' }).waitFor();
  await page.locator('#live[data-is=live]').waitFor();
  const path = join(own.state, 'releases', STABLE, KERNEL);
  await chmod(path, 0o644);
  await appendFile(path, 'x');
  await page
    .locator('#state.bad', { hasText: 'it cannot be booted: 1 file is not what was verified' })
    .waitFor();
  assert.doesNotMatch(await page.locator('#state').innerText(), /machines boot it/);
  await page.locator('#warnings', { hasText: KERNEL }).waitFor();
  assert.deepEqual(complaints, []);
});

it('a tab that nobody sees listens to nothing, and knows all when it is seen again', async (t) => {
  let [open, waiting] = [0, () => {}];
  const server = await served(t, (event) => {
    if (!('asked' in event) || event.asked !== '/api/v1/events') return;
    if (event.kind === 'started') open += 1;
    if (event.kind === 'ended') open -= 1;
    waiting();
  });
  const are = async (count: number): Promise<void> => {
    while (open !== count)
      await new Promise<void>((resolve) => {
        waiting = resolve;
      });
  };
  const { page } = await openTab(browser);
  t.after(() => page.context().close());
  const hide = (hidden: boolean) =>
    page.evaluate(
      `Object.defineProperty(document, 'hidden', { configurable: true, get: () => ${hidden} }); document.dispatchEvent(new Event('visibilitychange'))`,
    );
  await page.goto(server.url);
  await are(1);
  await hide(true);
  await are(0);
  const machine = new SeenMachine(server.boots, 13, STABLE).dhcp().script().verified();
  await hide(false);
  await are(1);
  await page.locator('#running > li.good', { hasText: machine.mac }).waitFor();
});

it('where no more may listen, the page asks every few seconds', async (t) => {
  const server = await served(t);
  const { page } = await openTab(browser);
  t.after(() => page.context().close());
  await page.route(
    (url) => url.pathname === '/api/v1/events' && !url.searchParams.has('poll'),
    (route) => route.fulfill({ status: 503, headers: { 'Retry-After': '10' }, body: 'full' }),
  );
  await page.goto(server.url);
  const machine = new SeenMachine(server.boots, 15, STABLE).dhcp().script();
  await page.locator('#live[data-is=polls]').waitFor();
  await page.locator('#running > li', { hasText: machine.mac }).waitFor();
  machine.verified();
  await page.locator('#running > li.good', { hasText: machine.mac }).waitFor();
});

it('a tab that stays open holds no more rows than one that was opened now', async (t) => {
  const server = await served(t);
  const { page, complaints } = await openTab(browser);
  t.after(() => page.context().close());
  await page.goto(server.url);
  await page.locator('#live[data-is=live]').waitFor();
  for (let number = 1; number < 200; number += 1) {
    new SeenMachine(server.boots, number, STABLE).dhcp().script().kernel().verified();
    if (number % 10 === 0) await page.locator('#day', { hasText: `${number} verified` }).waitFor();
  }
  const last = new SeenMachine(server.boots, 200, STABLE).dhcp();
  await page.locator('#running > li', { hasText: last.mac }).waitFor();
  const rows = await page.locator('#running > li, #recent tr').count();
  await page.reload();
  assert.equal(await page.locator('#running > li, #recent tr').count(), rows);
  assert.ok(rows < 40, `${rows} rows`);
  assert.deepEqual(complaints, []);
});

it('without script the pages hold the same', async (t) => {
  const server = await served(t);
  const pages = await pagesOf(server);
  const [withScript, without] = [
    await openTab(browser),
    await openTab(browser, { javaScriptEnabled: false }),
  ];
  t.after(() => Promise.all([withScript.page.context().close(), without.page.context().close()]));
  const textOf = async ({ page }: typeof without, path: string) => {
    await page.goto(server.url + path);
    // How long something lasts is the script's; since when stands there without it.
    return (await page.locator('main').innerText()).replace(
      /(since \S+ UTC|for [0-9a-z ]+ (s|min))/g,
      'since',
    );
  };
  for (const path of pages) assert.equal(await textOf(withScript, path), await textOf(without, path), path);
  await without.page.goto(`${server.url}/ui/boots`);
  await without.page.getByLabel('Outcome').selectOption('refused');
  await without.page.getByRole('button', { name: 'Show' }).click();
  assert.equal(await without.page.locator('tbody tr').count(), 1, 'the form works');
});

for (const colorScheme of ['light', 'dark'] as const)
  it(`axe finds nothing on any page, ${colorScheme}, wide and narrow`, async (t) => {
    const server = await served(t);
    const pages = await pagesOf(server);
    for (const viewport of [
      { width: 1280, height: 900 },
      { width: 375, height: 800 },
    ]) {
      const { page, complaints } = await openTab(browser, { colorScheme, viewport });
      for (const path of pages) {
        await page.goto(server.url + path);
        const about = `${path} at ${viewport.width}`;
        assert.deepEqual(await axeFindings(page), [], about);
        assert.ok(
          (await page.evaluate<number>('document.documentElement.scrollWidth')) <= viewport.width,
          `${about} is not wider than its window`,
        );
      }
      assert.deepEqual(
        complaints.filter((text) => !text.includes('404')),
        [],
      );
      await page.context().close();
    }
  });

it('axe finds what is planted', async (t) => {
  const server = await served(t);
  const { page } = await openTab(browser);
  t.after(() => page.context().close());
  await page.goto(server.url);
  await page.evaluate("document.querySelector('main').append(document.createElement('img'))");
  assert.match((await axeFindings(page)).join(), /image-alt/);
});

it('somebody signs in with a token, is named on every page, and signs out', async (t) => {
  const { secret } = await addToken({ state: site.state, name: 'ops', scopes: ['read'], now: NOW });
  const server = await site.serve({
    configuration: { api: { ...DEFAULT_CONFIGURATION.api, read: 'token' } },
  });
  t.after(() => server.close(0));
  const { page, complaints } = await openTab(browser);
  t.after(() => page.context().close());
  await page.goto(`${server.url}/ui/boots`);
  assert.equal(new URL(page.url()).pathname, '/sign-in');
  assert.deepEqual(await axeFindings(page), []);
  await page.getByLabel('Token').fill(secret);
  await page.getByRole('button', { name: 'Sign in' }).click();
  await page.locator('#live[data-is=live]').waitFor();
  const machine = new SeenMachine(server.boots, 17, STABLE).dhcp().script();
  await page.locator('#running > li', { hasText: machine.mac }).waitFor();
  assert.match(await page.locator('.who').innerText(), /ops/);
  await page.getByRole('button', { name: 'Sign out' }).click();
  await page.getByLabel('Token').waitFor();
  assert.equal(new URL(page.url()).pathname, '/sign-in');
  assert.deepEqual(complaints, []);
});

it('by keyboard: the first stop leads to the content, and where one is can be seen', async (t) => {
  const server = await served(t);
  const { page } = await openTab(browser);
  t.after(() => page.context().close());
  await page.goto(server.url);
  await page.keyboard.press('Tab');
  const skip = page.getByRole('link', { name: 'Skip to the content' });
  assert.equal(await page.evaluate('document.activeElement.className'), 'skip');
  assert.ok((await skip.boundingBox())?.x ?? -1 >= 0, 'it is to be seen');
  await page.keyboard.press('Enter');
  assert.equal(await page.evaluate('document.activeElement.id'), 'content');
  await page.keyboard.press('Tab');
  const outline = await page.evaluate('getComputedStyle(document.activeElement).outlineStyle');
  assert.equal(outline, 'solid');
});

it('the page lets in no script, style or picture but its own', async (t) => {
  const server = await served(t);
  const { page } = await openTab(browser);
  t.after(() => page.context().close());
  await page.goto(server.url);
  const ran = await page.evaluate(`new Promise((resolve) => {
    document.addEventListener('securitypolicyviolation', ({ violatedDirective }) => resolve(violatedDirective));
    const script = document.createElement('script');
    script.textContent = 'globalThis.ran = true';
    document.body.append(script);
  })`);
  assert.match(String(ran), /^script-src/);
  assert.equal(await page.evaluate('globalThis.ran'), undefined);
});
