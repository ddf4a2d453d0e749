import type { Detail, TableDetail } from '../protocol/detail.js';

const KNOWN: Record<Detail['type'], true> = {
  text: true,
  facts: true,
  table: true,
  bars: true,
  curve: true,
  tokens: true,
  texts: true,
  picture: true,
};

/** A detail in a form that this version can draw; one of a later version becomes a table of its fields. */
export function drawable(detail: Detail): Detail {
  return Object.hasOwn(KNOWN, detail.type) ? detail : tableOfFields(detail);
}

const MOST_LETTERS = 200;

function tableOfFields(detail: object): TableDetail {
  const { type, ...fields } = detail as Record<string, unknown>;
  return {
    type: 'table',
    title: `"${String(type)}", which this version does not know`,
    columns: [{ title: 'Field' }, { title: 'Value' }],
    rows: Object.entries(fields).map(([name, value]) => {
      const text = typeof value === 'string' ? value : JSON.stringify(value);
      return { cells: [name, text.length > MOST_LETTERS ? `${text.slice(0, MOST_LETTERS)}...` : text] };
    }),
  };
}
