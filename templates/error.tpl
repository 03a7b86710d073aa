% rebase('layout.tpl')
<div class="fault">
<h1>{{page.title}}</h1>
<p class="detail">{{page.to_do}}</p>
% if page.plain and page.detail:
<p>{{page.detail[:1].upper() + page.detail[1:]}}</p>
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
  <a class="button solid" href="{{page.sign_in_href}}">{{"Sign in as someone else" if subject else "Sign in"}}</a>
% end
% if page.again_href:
  <a class="button solid" href="{{page.again_href}}">Try again</a>
% end
% if page.plain_href:
  <a class="button solid" href="{{page.plain_href}}">Open the page afresh</a>
% end
% if page.now_href:
  <a class="button solid" href="{{page.now_href}}">Open it again</a>
% end
  <a class="button" href="{{url('')}}">Home</a>
</p>
% if page.kept:
%   include('_kept.tpl', kept=page.kept, lead="Nothing you typed is lost: it is kept on this page.", label="Try again")
% end
<details class="facts">
<summary>For whoever runs this site</summary>
<dl class="meta">
  <div><dt>Status</dt><dd>{{page.status}} <code>{{page.code}}</code></dd></div>
  <div><dt>Detail</dt><dd>{{page.detail}}</dd></div>
% if page.needed:
  <div><dt>Grant needed</dt><dd><code>{{page.needed}}</code></dd></div>
% end
  <div><dt>Request number</dt><dd><code>{{page.request_id}}</code></dd></div>
</dl>
</details>
</div>
