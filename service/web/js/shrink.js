// Make the picture small enough to be numbers on a page.

/** Draw a picture's Blob on a canvas of at most `side` pixels a side. Throws a sentence if it cannot be shown. */
export async function shrink(blob, side) {
  let bitmap;
  try {
    bitmap = await createImageBitmap(blob);
  } catch (error) {
    throw new Error("This browser cannot read the picture; choose a JPEG or a PNG.", { cause: error });
  }
  const scale = Math.min(1, side / Math.max(bitmap.width, bitmap.height));
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(bitmap.width * scale));
  canvas.height = Math.max(1, Math.round(bitmap.height * scale));
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.imageSmoothingQuality = "high";
  context.fillStyle = "#fff"; // what is transparent is seen on white, as the service has it
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  bitmap.close();
  return canvas;
}

/** Read a box of a canvas as channels of rows: red, green and blue, or one of luma (ITU-R 601). */
export function readPixels(canvas, { left = 0, top = 0, width = canvas.width, height = canvas.height } = {}, rgb = true) {
  const { data } = canvas.getContext("2d").getImageData(left, top, width, height);
  const at = (row, column) => 4 * (row * width + column);
  const channel = (of) => Array.from({ length: height }, (_, row) => Array.from({ length: width }, (__, column) => of(at(row, column))));
  if (rgb) return [0, 1, 2].map((offset) => channel((i) => data[i + offset]));
  return [channel((i) => Math.round(0.299 * data[i] + 0.587 * data[i + 1] + 0.114 * data[i + 2]))];
}

export const toBlob = (canvas) => new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
