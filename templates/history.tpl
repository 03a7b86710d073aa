% rebase('layout.tpl')
<div class="head">
  <div>
    <h1><bdi>{{page.called}}</bdi></h1>
    <p class="note">{{t("history.note")}}</p>
  </div>
</div>
% if page.lines:
<ol class="history">
%   for number, one in enumerate(page.lines):
  <li>
    <div class="head">
      <h2><bdi class="by">{{one.who}}</bdi> {{one.what}}</h2>
      <p class="note">\\
%     if one.at:
<time datetime="{{one.iso}}">{{one.at}}</time>\\
%     end
%     if one.version:
 · {{t("history.version", n=one.version)}}\\
%     end
%     if one.is_present:
 · {{t("history.present")}}\\
%     end
</p>
    </div>
%     if one.comment:
    <blockquote class="said"><bdi>{{one.comment}}</bdi></blockquote>
%     end
%     include('_differences.tpl', differences=one.differences)
%     if one.may_restore:
    <form method="post" action="{{page.action}}">
%       include('_token.tpl')
      <input type="hidden" name="version" value="{{one.version}}">
      <button class="button small" aria-label="{{t("history.restore_label", n=one.version)}}">{{t("history.restore")}}</button>
    </form>
%     end
  </li>
%   end
</ol>
% end
% if page.is_cut:
<p class="note">{{t("history.pruned")}}</p>
% end
% if page.first_href or page.next_href:
<nav class="pager" aria-label="{{t("table.pages")}}">
%   if page.first_href:
  <a class="button small" href="{{page.first_href}}" rel="first">{{t("history.newest")}}</a>
%   end
%   if page.next_href:
  <a class="button small" href="{{page.next_href}}" rel="next">{{t("history.older")}}</a>
%   end
</nav>
% end
<p class="back"><a href="{{page.back_href}}">{{t("history.back")}}</a></p>
