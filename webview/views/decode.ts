/** Numbers of messages and pages, which come as base64. */

function bytesOf(base64: string): ArrayBuffer {
  return Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0)).buffer;
}

export function decodeFloats(base64: string): Float32Array {
  return new Float32Array(bytesOf(base64));
}

export function decodeDoubles(base64: string): Float64Array {
  return new Float64Array(bytesOf(base64));
}
