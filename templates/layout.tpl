% heading = f"{title} · {site}" if title and title != site else site
<!doctype html>
<html lang="{{lang}}" dir="{{dir}}">
<head>
<meta charset="utf-8">
<title>{{heading}}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="referrer" content="same-origin">
<link rel="icon" type="image/svg+xml" href="{{static('icon.svg')}}">
<link rel="stylesheet" href="{{static('app.css')}}">
<script src="{{static('app.js')}}" defer></script>
</head>
<body>
<a class="skip" href="#main">Skip to content</a>
<header class="top">
  <a class="brand" href="{{url('')}}"><svg class="mark" aria-hidden="true"><use href="{{static('icon.svg')}}#mark"/></svg> <bdi>{{site}}</bdi></a>
  <div class="who">
% if subject:
    <a class="subject" href="{{url('me')}}"><span class="wide">Signed in as </span><bdi>{{subject}}</bdi></a>
    <form method="post" action="{{url('logout')}}">
% include('_token.tpl')
      <button class="button small">Sign out</button>
    </form>
% else:
    <a class="button small" href="{{url('login')}}">Sign in</a>
% end
  </div>
</header>
<main id="main" tabindex="-1">
% if notice:
<div class="notice good" role="status"><p><bdi>{{notice}}</bdi></p></div>
% end
{{!base}}
</main>
<footer class="bottom"><a href="{{url('')}}">{{site}}</a></footer>
</body>
</html>
