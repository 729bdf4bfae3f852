import { type Hole, type Html, html } from './html.ts';

/** One column of a table. */
export interface Column<Row> {
  readonly head: string;
  readonly cell: (row: Row) => Hole;
  /** Names the row. */
  readonly names?: boolean;
  /** `n`: numbers, to the right; `nowrap`: short words. */
  readonly kind?: 'n' | 'nowrap';
}

export interface TableOptions<Row> {
  readonly caption: string;
  /** The caption stands above it as a heading already, and is for those who do not see that. */
  readonly captionHidden?: boolean;
  readonly columns: readonly Column<Row>[];
  readonly rows: readonly Row[];
  /** What is said where there are no rows. */
  readonly none: string;
  /** Of its body: the script puts rows of its own there, by their keys. */
  readonly id?: string;
  readonly rowKey?: (row: Row) => string;
  readonly rowTone?: (row: Row) => string;
}

/**
 * A table that becomes a list of cards where there is no room. Roles are said, since what is laid out otherwise is no
 * table any more to some readers.
 */
export function table<Row>(options: TableOptions<Row>): Html {
  const { caption, captionHidden, columns, rows, none, id } = options;
  const body =
    rows.length === 0
      ? html`<tr role="row" class="none"><td role="cell" colspan="${columns.length}">${none}</td></tr>`
      : rows.map((row) => tableRow(row, options));
  return html`<table role="table" class="cards">
<caption${captionHidden === true && html` class="sr"`}>${caption}</caption>
<thead role="rowgroup"><tr role="row">${columns.map(
    ({ head, kind }) =>
      html`<th role="columnheader" scope="col"${kind && html` class="${kind}"`}>${head}</th>`,
  )}</tr></thead>
<tbody role="rowgroup"${id !== undefined && html` id="${id}"`}>${body}</tbody>
</table>`;
}

function tableRow<Row>(row: Row, { columns, rowKey, rowTone }: TableOptions<Row>): Html {
  const key = rowKey?.(row);
  const tone = rowTone?.(row);
  return html`<tr role="row"${key !== undefined && html` id="${key}"`}${tone !== undefined && html` class="${tone}"`}>${columns.map(
    ({ head, cell, names, kind }) =>
      names === true
        ? html`<th role="rowheader" scope="row" data-head="${head}"><div>${cell(row)}</div></th>`
        : html`<td role="cell" data-head="${head}"${kind && html` class="${kind}"`}><div>${cell(row)}</div></td>`,
  )}</tr>
`;
}
