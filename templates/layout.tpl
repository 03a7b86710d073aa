% heading = f"{title} · {site}" if title and title != site else site
<!doctype html>
<html lang="{{lang}}" dir="{{dir}}">
<head>
<meta charset="utf-8">
<title>{{heading}}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="referrer" content="{{"no-referrer" if embedded == "shared" else "same-origin"}}">
<link rel="icon" type="image/svg+xml" href="{{static('icon.svg')}}">
<link rel="stylesheet" href="{{static('app.css')}}">
<script src="{{static('app.js')}}" defer></script>
</head>
<body>
<a class="skip" href="#main">{{t("frame.skip")}}</a>
% if embedded == "shared":
<header class="top"><div class="brand"><svg class="mark" aria-hidden="true"><use href="{{static('icon.svg')}}#mark"/></svg> <bdi>{{site}}</bdi></div></header>
% elif not embedded:
<header class="top">
  <a class="brand" href="{{url('')}}"><svg class="mark" aria-hidden="true"><use href="{{static('icon.svg')}}#mark"/></svg> <bdi>{{site}}</bdi></a>
{{!menu}}
% if subject:
  <div class="who">
    <a class="subject" href="{{url('me')}}"
%   if at_me:
 aria-current="page"
%   end
><span class="visually-hidden">{{t("frame.signed_in_as")}} </span><bdi>{{subject}}</bdi></a>
    <form method="post" action="{{url('logout')}}">
%   include('_token.tpl')
      <button class="button small">{{t("frame.sign_out")}}</button>
    </form>
  </div>
% else:
  <div class="who out"><a class="button small" href="{{url('login')}}">{{t("common.sign_in")}}</a></div>
% end
</header>
<nav class="crumbs" aria-label="{{t('frame.trail')}}">
  <ol>
% for crumb in crumbs:
%   if crumb.href:
    <li><a href="{{crumb.href}}"><bdi>{{crumb.title}}</bdi></a></li>
%   else:
    <li><bdi aria-current="page">{{crumb.title}}</bdi></li>
%   end
% end
  </ol>
</nav>
% end
<main id="main" tabindex="-1">
% if faults:
<div class="notice bad" role="status">
  <p>{{t("frame.not_in_force")}}</p>
  <ul>
%   for fault in faults:
    <li><bdi>{{fault}}</bdi></li>
%   end
  </ul>
</div>
% end
% if notice:
<div class="notice good" role="status"><p><bdi>{{notice}}</bdi></p></div>
% end
{{!base}}
</main>
% if not embedded:
{{!foot}}
% end
</body>
</html>
