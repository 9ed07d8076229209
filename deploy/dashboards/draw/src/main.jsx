// One dashboard as a page, of Grafana's own components: its JSON says which panels, board.json in
// the page's folder holds what Prometheus answered to each of their queries.
import {
  applyFieldOverrides,
  createTheme,
  dateTime,
  FieldColorModeId,
  FieldConfigOptionsRegistry,
  FieldType,
  getDisplayProcessor,
  ReducerID,
  standardTransformers,
  standardTransformersRegistry,
  ThemeContext,
  toDataFrame,
  transformDataFrame,
} from '@grafana/data';
import { BigValue, GlobalStyles, PanelChrome, Table, TimeSeries } from '@grafana/ui';
import { useEffect, useState } from 'react';
import { createRoot } from 'react-dom/client';
import { firstValueFrom } from 'rxjs';

const COLUMN = 1600 / 24;
const ROW = 38;
const GAP = 8;
const theme = createTheme({ colors: { mode: 'dark' } });

standardTransformersRegistry.setInit(() =>
  Object.values(standardTransformers)
    .filter(({ id }) => ['joinByField', 'organize'].includes(id))
    // One of them goes by two names.
    .filter(({ id }, place, all) => all.findIndex((other) => other.id === id) === place)
    .map((transformation) => ({
      id: transformation.id,
      name: transformation.name,
      transformation: async () => transformation,
      editor: () => null,
    }))
);

const LINES = {
  drawStyle: 'line',
  lineInterpolation: 'linear',
  lineWidth: 1,
  fillOpacity: 10,
  gradientMode: 'none',
  showPoints: 'never',
  spanNulls: true,
  axisPlacement: 'auto',
  scaleDistribution: { type: 'linear' },
  stacking: { mode: 'none', group: 'A' },
  thresholdsStyle: { mode: 'off' },
  hideFrom: { legend: false, tooltip: false, viz: false },
};

// What our panels set; Grafana itself knows more.
const STANDARD = ['unit', 'decimals', 'min', 'max', 'color', 'thresholds', 'mappings', 'links'];
const CUSTOM = [...Object.keys(LINES), 'axisSoftMax', 'cellOptions', 'width'];
const properties = new FieldConfigOptionsRegistry(() =>
  [...STANDARD, ...CUSTOM].map((name) => ({
    id: CUSTOM.includes(name) ? `custom.${name}` : name,
    path: name,
    isCustom: CUSTOM.includes(name),
    name,
    editor: () => null,
    override: () => null,
    process: (value) => value,
    shouldApply: () => true,
    settings: {},
  }))
);

/** A query's answer as the Prometheus data source would hand it to a panel. */
function framesOf({ refId, format, legend, result }) {
  if (format === 'table') {
    const names = [...new Set(result.flatMap((one) => Object.keys(one.metric)))];
    return [
      toDataFrame({
        refId,
        fields: [
          { name: 'Time', type: FieldType.time, values: result.map((one) => one.value[0] * 1000) },
          ...names.map((name) => ({
            name,
            type: FieldType.string,
            values: result.map((one) => one.metric[name] ?? ''),
          })),
          {
            name: `Value #${refId}`,
            type: FieldType.number,
            values: result.map((one) => Number(one.value[1])),
          },
        ],
      }),
    ];
  }
  return result.map((one) => {
    const points = one.values ?? [one.value];
    return toDataFrame({
      refId,
      fields: [
        { name: 'Time', type: FieldType.time, values: points.map(([at]) => at * 1000) },
        {
          name: 'Value',
          type: FieldType.number,
          labels: one.metric,
          config: { displayNameFromDS: named(legend, one.metric) },
          values: points.map(([, value]) => (value === 'NaN' ? null : Number(value))),
        },
      ],
    });
  });
}

function named(legend, labels) {
  return (legend || '').replace(/\{\{\s*(\w+)\s*\}\}/g, (_, label) => labels[label] ?? '');
}

function overridden(panel, frames) {
  const { defaults, overrides } = panel.fieldConfig;
  return applyFieldOverrides({
    data: frames,
    fieldConfig: {
      defaults: {
        color: {
          mode: panel.type === 'timeseries' ? FieldColorModeId.PaletteClassic : FieldColorModeId.Thresholds,
        },
        ...defaults,
        custom:
          panel.type === 'timeseries'
            ? { ...LINES, ...defaults.custom, stacking: { group: 'A', mode: 'none', ...defaults.custom?.stacking } }
            : { ...defaults.custom },
      },
      overrides,
    },
    fieldConfigRegistry: properties,
    replaceVariables: (text) => text,
    theme,
    timeZone: 'browser',
  });
}

async function transformed(panel, frames) {
  if (!panel.transformations?.length) {
    return frames;
  }
  return firstValueFrom(
    transformDataFrame(panel.transformations, frames, { interpolate: (text) => text })
  );
}

function Stat({ panel, frames, width, height }) {
  const fields = frames.flatMap((frame) => frame.fields.filter((f) => f.type === FieldType.number));
  const each = width / Math.max(fields.length, 1);
  return fields.map((field, place) => {
    const display = field.display ?? getDisplayProcessor({ field, theme });
    const value = display(field.values[field.values.length - 1]);
    return (
      <BigValue
        key={place}
        width={each}
        height={height}
        value={value}
        colorMode={panel.options.colorMode}
        graphMode="none"
        justifyMode="auto"
        textMode="value"
        theme={theme}
        count={fields.length}
      />
    );
  });
}

function sorted(panel, frame) {
  // Grafana's table sorts by itself where its header is clicked; here as the panel says.
  const by = (panel.options?.sortBy ?? []).map((one) =>
    frame.fields.find((field) => (field.config.displayName ?? field.name) === one.displayName)
  );
  const order = [...Array(frame.length).keys()].sort((a, b) => {
    for (const field of by) {
      const less = (field?.values[b] ?? 0) - (field?.values[a] ?? 0);
      if (less) {
        return less;
      }
    }
    return 0;
  });
  const fields = frame.fields.map((f) => ({ ...f, values: order.map((at) => f.values[at]) }));
  return { ...frame, fields };
}

function Content({ panel, frames, range, width, height }) {
  if (!frames.length) {
    return <div style={{ padding: 16 }}>No data</div>;
  }
  if (panel.type === 'stat') {
    return (
      <div style={{ display: 'flex' }}>
        <Stat panel={panel} frames={frames} width={width} height={height} />
      </div>
    );
  }
  if (panel.type === 'table') {
    return <Table data={sorted(panel, frames[0])} width={width} height={height} />;
  }
  return (
    <TimeSeries
      frames={frames}
      structureRev={1}
      width={width}
      height={height}
      timeRange={range}
      timeZone="browser"
      theme={theme}
      legend={panel.options.legend}
      options={{}}
    />
  );
}

function placed({ x, y, w, h }) {
  return {
    position: 'absolute',
    left: x * COLUMN,
    top: y * (ROW + GAP),
    width: w * COLUMN - GAP,
    height: h * (ROW + GAP) - GAP,
  };
}

function Panel({ panel, answers, range }) {
  const [frames, setFrames] = useState(null);
  useEffect(() => {
    if (panel.type !== 'row') {
      transformed(panel, answers.flatMap(framesOf)).then((found) => setFrames(overridden(panel, found)));
    }
  }, []);
  const place = placed(panel.gridPos);
  if (panel.type === 'row') {
    return <div style={{ ...place, lineHeight: `${place.height}px`, fontWeight: 500 }}>⌄ {panel.title}</div>;
  }
  return (
    <div style={place}>
      <PanelChrome title={panel.title} description={panel.description} width={place.width} height={place.height}>
        {(width, height) =>
          frames && <Content {...{ panel, frames, range, width, height }} />
        }
      </PanelChrome>
    </div>
  );
}

function Board({ board, panels, from, to }) {
  const range = { from: dateTime(from), to: dateTime(to), raw: { from: 'now-24h', to: 'now' } };
  const bottom = Math.max(...board.panels.map(({ gridPos }) => gridPos.y + gridPos.h));
  return (
    <ThemeContext.Provider value={theme}>
      <GlobalStyles isExtensionSidebarOpen={false} />
      <div style={{ padding: 16, width: 1600 + 24 }}>
        <h3 id="title" data-height={56 + bottom * (ROW + GAP) + 32}>
          {board.title}
        </h3>
        <div style={{ position: 'relative', height: bottom * (ROW + GAP) }}>
          {board.panels.map((panel) => (
            <Panel key={panel.id} panel={panel} answers={panels[panel.id] ?? []} range={range} />
          ))}
        </div>
      </div>
    </ThemeContext.Provider>
  );
}

const name = new URLSearchParams(location.search).get('board');
fetch(`./${name}.json`)
  .then((answer) => answer.json())
  .then((told) => createRoot(document.getElementById('root')).render(<Board {...told} />));
