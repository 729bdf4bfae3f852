import { readFile, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { type Browser, type BrowserContextOptions, chromium, type Page } from 'playwright-core';
import type { Lan } from './lan.ts';

/** A browser that judges the server's pages: Debian's chromium, without a screen. */

const AXE = createRequire(import.meta.url).resolve('axe-core/axe.min.js');

const CHROMIUM = '/usr/bin/chromium';

/**
 * Tests run as root in places, where chromium has no sandbox of its own; it sees no page but ours.
 *
 * @param lan whose servers it shall reach: it is led by a pipe, so it may stand in another network.
 */
export async function openBrowser(lan?: Lan): Promise<Browser> {
  return chromium.launch({
    executablePath: lan === undefined ? CHROMIUM : await programInside(lan, CHROMIUM),
    args: ['--no-sandbox'],
  });
}

/** A program that starts another one inside of a network. */
async function programInside(lan: Lan, program: string): Promise<string> {
  const path = join(lan.workFolder, 'inside');
  await writeFile(path, `#!/bin/sh\nexec ip netns exec ${lan.name} ${program} "$@"\n`, { mode: 0o755 });
  return path;
}

const PATIENCE_MS = 180_000;

/** A page, and what its console complained about. */
export interface Tab {
  readonly page: Page;
  readonly complaints: string[];
}

export async function openTab(browser: Browser, options: BrowserContextOptions = {}): Promise<Tab> {
  const page = await browser.newPage({ reducedMotion: 'reduce', ...options });
  // A guard against a wait without an end: how fast a busy machine is says nothing about the page.
  page.setDefaultTimeout(PATIENCE_MS);
  const complaints: string[] = [];
  page.on('console', (message) => {
    if (['error', 'warning'].includes(message.type())) complaints.push(message.text());
  });
  page.on('pageerror', (error) => complaints.push(error.message));
  return { page, complaints };
}

/**
 * What is wrong with a page for people who do not see, or use no mouse: rules of WCAG 2.2 A and AA, and good practice.
 *
 * @returns one line for each element, none where nothing was found.
 */
export async function axeFindings(page: Page): Promise<readonly string[]> {
  // By the debugger, since the page's own policy lets in no script of anybody else.
  await page.evaluate(await readFile(AXE, 'utf8'));
  const found = (await page.evaluate(
    'axe.run(document, { resultTypes: ["violations"] }).then(({ violations }) => violations.flatMap(({ id, nodes }) => nodes.map(({ target, failureSummary }) => id + " " + target.join(" ") + ": " + failureSummary)))',
  )) as string[];
  return found;
}

/** What an open overview showed of one boot, while it was open. */
export interface WatchedBoot {
  /** Stages that were shown as the one where it is, in their order. */
  readonly stages: readonly string[];
  /** Text of its last state. */
  readonly outcome: string;
  /** Classes of its row in the end: `boot good`. */
  readonly row: string;
  /** The page was loaded once. */
  readonly loads: number;
  readonly complaints: readonly string[];
}

/**
 * Opens the overview, lets a machine boot, and tells what was to be seen of it without the page being loaded anew.
 *
 * @param mac `52:54:00:12:34:56`
 * @param boot resolves when the machine is done, or nearly: an emulated one, one in QEMU, or one that a test plays.
 */
export async function watchBoot(
  browser: Browser,
  url: string,
  mac: string,
  boot: (page: Page) => Promise<void>,
): Promise<WatchedBoot> {
  const { page, complaints } = await openTab(browser);
  try {
    let loads = 0;
    page.on('load', () => {
      loads += 1;
    });
    await page.goto(url);
    await page.locator('#live[data-is=live]').waitFor();
    await page.evaluate(`
      globalThis.shown = [];
      const note = () => {
        for (const row of document.querySelectorAll('#running > li')) {
          if (!row.textContent.includes(${JSON.stringify(mac)})) continue;
          const now = row.querySelector('[aria-current=step] b')?.textContent;
          if (now && shown.at(-1) !== now) shown.push(now);
        }
      };
      new MutationObserver(note).observe(document.getElementById('running'), { subtree: true, childList: true, attributes: true, characterData: true });
    `);
    await boot(page);
    const row = page.locator('#running > li', { hasText: mac });
    await row.and(page.locator('.good, .fair, .bad, .quiet')).waitFor();
    return {
      stages: (await page.evaluate('shown')) as string[],
      outcome: (await row.locator('.boot-head p').innerText()).trim(),
      row: (await row.getAttribute('class')) ?? '',
      loads,
      complaints,
    };
  } finally {
    await page.context().close();
  }
}
