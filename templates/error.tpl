% rebase('layout.tpl')
<div class="fault">
<p class="status">{{page.status}}</p>
<h1>{{page.title}}</h1>
% if page.detail:
<p class="detail">{{page.detail}}</p>
% end
% if page.errors:
<ul class="faults">
%   for error in page.errors:
  <li>
%     if error["pointer"]:
    <code>{{error["pointer"]}}</code>
%     end
    {{error["detail"]}}</li>
%   end
</ul>
% end
<p class="actions">
% if page.sign_in_href:
  <a class="button solid" href="{{page.sign_in_href}}">Sign in</a>
% end
  <a class="button" href="{{url('')}}">Home</a>
</p>
% if page.kept:
%   include('_kept.tpl', kept=page.kept, lead="Nothing you typed is lost: it is kept on this page.", label="Try again")
% end
<dl class="meta">
% if page.code:
  <div><dt>Error</dt><dd><code>{{page.code}}</code></dd></div>
% end
% if page.request_id:
  <div><dt>Request</dt><dd><code>{{page.request_id}}</code></dd></div>
% end
</dl>
</div>
