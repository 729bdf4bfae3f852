import { releaseLink } from './boot-parts.ts';
import type { ChannelRow } from './facts.ts';
import { type Frame, renderDocument, UI } from './frame.ts';
import { html } from './html.ts';
import { table } from './table.ts';
import { counted, moment } from './values.ts';

/** Where each channel points, and until when its word counts. */
export function renderChannels(frame: Frame, channels: readonly ChannelRow[], state: boolean): string {
  const body = html`
<h1>Channels</h1>
<p>${state ? counted(channels.length, 'channel') : 'This server serves a tree: there are no channels.'}</p>
${
  state &&
  table<ChannelRow>({
    caption: 'Channels',
    captionHidden: true,
    none: 'There is no channel yet: "bootseal publish" makes one.',
    rows: channels,
    rowTone: ({ expired }) => (expired ? 'warn' : ''),
    columns: [
      {
        head: 'Channel',
        names: true,
        cell: ({ channel, entry }) =>
          html`<b>${channel}</b>${entry && html`<br><span class="dim">the entry</span>`}`,
      },
      {
        head: 'Points at',
        cell: ({ releases }) =>
          html`<ul class="plain">${releases.map(
            ({ arch, release, rollbackFrom, ended, drifted, offered }) =>
              html`<li>${releaseLink(release)} <span class="dim">${arch}</span>${!offered && html` <span class="badge bad">not offered</span>`}${ended !== undefined && html` <span class="badge bad">new boots have ended</span> ${ended}`}${drifted && html` <span class="badge bad">drifted</span>`}${rollbackFrom !== undefined && html`<br><span class="warn-ink">rolled back from ${rollbackFrom}</span>`}</li>`,
          )}</ul>`,
      },
      { head: 'Signed', cell: ({ issued }) => moment(issued) },
      {
        head: 'Its word counts until',
        cell: ({ expires, expired, channel }) =>
          html`${moment(expires)}${expired && html`<br><span class="badge warn">ended</span> mirrors refuse it until <code>bootseal channel renew ${channel}</code>; machines boot on`}`,
      },
      {
        head: 'Scripts of machines',
        cell: ({ scripts, entry }) =>
          scripts ?? html`<span class="dim">${entry ? 'none: every machine boots it' : 'none'}</span>`,
      },
      {
        head: 'Snapshot',
        cell: ({ channel, counter }) =>
          html`<a href="/channels/${channel}">number ${counter.toLocaleString('en')}</a>, its <a href="/channels/${channel}.cms.sig">seal</a>`,
      },
    ],
  })
}`;
  return renderDocument({ ...frame, title: 'Channels', current: `${UI}/channels`, follows: 'state', body });
}
