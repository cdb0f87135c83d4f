import { columnsOf, type Definitions, fill, floats, integers } from './array.js';

/** Angle of one position: position / base^(2 index / size). */
const angle = (position: number, index: number, size: number, base: number) =>
  position * base ** ((-2 * index) / size);

export const embedding: Definitions = {
  embedding: ({ inputs: [ids, table], outputShapes: [shape] }) => {
    const [rows, columns] = table!.shape;
    return [
      fill(shape, (index) => {
        const id = ids!.data[Math.floor(index / columns)];
        return id >= 0 && id < rows ? table!.data[id * columns + (index % columns)] : 0;
      }),
    ];
  },
  embedding_backward: ({ inputs: [ids, dy, addend], attributes: { rows } }) => {
    const columns = columnsOf(dy!);
    const dtable = floats([rows as number, columns]);
    if (addend) dtable.data.set(addend.data);
    ids!.data.forEach((id, row) => {
      if (id < 0 || id >= (rows as number)) return;
      for (let c = 0; c < columns; c++) dtable.data[id * columns + c] += dy!.data[row * columns + c];
    });
    return [dtable];
  },
  one_hot: ({ inputs: [ids], outputShapes: [shape] }) => {
    const size = shape.at(-1)!;
    return [fill(shape, (index) => (ids!.data[Math.floor(index / size)] === index % size ? 1 : 0))];
  },
  positions: ({ inputs: [starts], outputShapes: [shape] }) => {
    const y = integers(shape);
    y.data.forEach((_, index) => {
      y.data[index] = starts!.data[Math.floor(index / shape[1])] + (index % shape[1]);
    });
    return [y];
  },
  arange: ({ outputShapes: [shape] }) => [
    { shape, data: Int32Array.from({ length: shape[0] }, (_, i) => i) },
  ],
  sinusoidal: ({ inputs: [positions], outputShapes: [shape] }) => {
    const columns = shape.at(-1)!;
    return [
      fill(shape, (index) => {
        const c = index % columns;
        const turned = angle(positions!.data[Math.floor(index / columns)], Math.floor(c / 2), columns, 10000);
        return c % 2 === 0 ? Math.sin(turned) : Math.cos(turned);
      }),
    ];
  },
  rotary_table: ({ inputs: [positions], outputShapes: [shape], attributes: { theta } }) => {
    const half = shape.at(-1)!;
    const turned = (index: number) =>
      angle(positions!.data[Math.floor(index / half)], index % half, 2 * half, theta as number);
    return [fill(shape, (index) => Math.cos(turned(index))), fill(shape, (index) => Math.sin(turned(index)))];
  },
  // y1 = x1 cos - x2 sin, y2 = x2 cos + x1 sin on the two halves; what lies beyond twice the table's width stays.
  rotary: ({ inputs: [x, cos, sin], attributes: { inverse } }) => {
    const [, , heads, size] = x!.shape;
    const half = cos!.shape[2];
    return [
      fill(x!.shape, (index) => {
        const d = index % size;
        if (d >= 2 * half) return x!.data[index];
        const table = Math.floor(index / (heads * size)) * half + (d % half);
        const sine = inverse ? -sin!.data[table] : sin!.data[table];
        return d < half
          ? x!.data[index] * cos!.data[table] - x!.data[index + half] * sine
          : x!.data[index] * cos!.data[table] + x!.data[index - half] * sine;
      }),
    ];
  },
};
