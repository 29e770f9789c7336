// The site is one page with many addresses: every path that is none of its FILES is that page's.
function handler(event) {
  var request = event.request;
  if (!request.uri.startsWith('/assets/') && !FILES.includes(request.uri)) {
    request.uri = '/index.html';
  }
  return request;
}
